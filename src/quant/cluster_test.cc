#include "quant/cluster.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/rng.h"

namespace krait {
namespace {

bool is_permutation_of_all(std::vector<std::int64_t> order) {
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<std::int64_t>(i)) return false;
  }
  return true;
}

// Two kinds of heads, flat and with two outliers, mixed and with their channels shuffled: the kinds
// become clusters and the outliers runs of their own.
TEST(ClusterHeads, FindsHeadsAndChannelsThatAreAlike) {
  const std::vector<float> magnitude = {
      1, 1, 9, 1, 9, 1,  // outliers
      2, 2, 2, 2, 2, 2,  // flat
      8, 1, 1, 8, 1, 1,  // outliers
      3, 3, 3, 3, 3, 3,  // flat
  };
  const HeadClusters c = cluster_heads(magnitude, 4, 6, 1, 2, 2);
  EXPECT_EQ(c.heads, (std::vector<std::int64_t>{0, 2, 1, 3}));
  EXPECT_EQ(c.clusters, 4);
  EXPECT_EQ(std::vector(c.channels.begin(), c.channels.begin() + 6),
            (std::vector<std::int64_t>{0, 1, 3, 5, 2, 4}));
  for (const std::size_t outlier : {2u, 4u, 12u, 15u}) EXPECT_EQ(c.cluster[outlier], 1);
  for (const std::size_t small : {0u, 1u, 13u, 17u}) EXPECT_EQ(c.cluster[small], 0);
  EXPECT_GE(c.cluster[6], 2);
}

TEST(ClusterHeads, KeepsChannelsInHeadsAndHeadsInGroups) {
  Rng rng(3);
  const std::int64_t H = 12, P = 10, G = 3;
  std::vector<float> magnitude(static_cast<std::size_t>(H * P));
  for (float& x : magnitude) x = static_cast<float>(rng.uniform());
  const HeadClusters c = cluster_heads(magnitude, H, P, G, 2, 3);
  EXPECT_TRUE(is_permutation_of_all(c.heads));
  EXPECT_TRUE(is_permutation_of_all(c.channels));
  EXPECT_EQ(c.clusters, 3 * 2 * 3);
  std::set<int> seen;
  for (std::int64_t i = 0; i < H; ++i) {
    EXPECT_EQ(c.heads[static_cast<std::size_t>(i)] / (H / G), i / (H / G));
    for (std::int64_t p = 0; p < P; ++p) {
      const std::int64_t channel = c.channels[static_cast<std::size_t>(i * P + p)];
      EXPECT_EQ(channel / P, c.heads[static_cast<std::size_t>(i)]);
      const int cluster = c.cluster[static_cast<std::size_t>(channel)];
      EXPECT_EQ(cluster / 6, i / (H / G));
      seen.insert(cluster);
      if (p == 0) continue;
      const std::int64_t before = c.channels[static_cast<std::size_t>(i * P + p - 1)];
      EXPECT_GE(magnitude[static_cast<std::size_t>(channel)],
                magnitude[static_cast<std::size_t>(before)]);
      EXPECT_GE(cluster, c.cluster[static_cast<std::size_t>(before)]);
    }
  }
  EXPECT_EQ(seen.size(), 18u);
}

TEST(ClusterHeads, TakesFewerClustersWhereThereIsLess) {
  const HeadClusters c = cluster_heads(std::vector<float>{1, 2, 0, 0}, 2, 2, 2, 4, 4);
  EXPECT_EQ(c.clusters, 4);
  EXPECT_EQ(c.heads, (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(c.channels, (std::vector<std::int64_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace krait
