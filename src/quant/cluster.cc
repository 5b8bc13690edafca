#include "quant/cluster.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace krait {
namespace {

using Index = std::vector<std::int64_t>;
using Point = std::vector<double>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Ward's method: the two clusters whose union raises the sum of squared distances least become
/// one, until `wanted` are left. Clusters are in the order of their first point.
std::vector<Index> ward(const std::vector<Point>& points, std::size_t wanted) {
  std::vector<Index> clusters;
  std::vector<Point> centers = points;
  for (std::size_t i = 0; i < points.size(); ++i) {
    clusters.push_back({static_cast<std::int64_t>(i)});
  }
  const auto cost = [&](std::size_t a, std::size_t b) {
    double distance = 0;
    for (std::size_t k = 0; k < centers[a].size(); ++k) {
      distance += (centers[a][k] - centers[b][k]) * (centers[a][k] - centers[b][k]);
    }
    const auto n = static_cast<double>(clusters[a].size());
    const auto m = static_cast<double>(clusters[b].size());
    return distance * n * m / (n + m);
  };
  while (clusters.size() > wanted) {
    std::size_t first = 0, second = 1;
    double least = kInfinity;
    for (std::size_t a = 0; a < clusters.size(); ++a) {
      for (std::size_t b = a + 1; b < clusters.size(); ++b) {
        const double c = cost(a, b);
        if (c < least) {
          least = c;
          first = a;
          second = b;
        }
      }
    }
    const auto n = static_cast<double>(clusters[first].size());
    const auto m = static_cast<double>(clusters[second].size());
    for (std::size_t k = 0; k < centers[first].size(); ++k) {
      centers[first][k] = (n * centers[first][k] + m * centers[second][k]) / (n + m);
    }
    Index& merged = clusters[first];
    merged.insert(merged.end(), clusters[second].begin(), clusters[second].end());
    std::sort(merged.begin(), merged.end());
    clusters.erase(clusters.begin() + static_cast<std::ptrdiff_t>(second));
    centers.erase(centers.begin() + static_cast<std::ptrdiff_t>(second));
  }
  return clusters;
}

/// The places 0 to n cut into `wanted` runs (or n, if that is less): the end of each. `points` are
/// the places as seen by several heads: points[head][place].
std::vector<std::size_t> cut(const std::vector<const Point*>& points, std::size_t wanted) {
  const std::size_t n = points.front()->size();
  wanted = std::min(wanted, n);
  // spread[a][b]: the sum of squared distances from the mean of places a to b.
  std::vector<Point> spread(n, Point(n + 1));
  for (std::size_t a = 0; a < n; ++a) {
    Point sum(points.size()), squares(points.size());
    for (std::size_t b = a + 1; b <= n; ++b) {
      for (std::size_t h = 0; h < points.size(); ++h) {
        const double x = (*points[h])[b - 1];
        sum[h] += x;
        squares[h] += x * x;
        spread[a][b] += squares[h] - sum[h] * sum[h] / static_cast<double>(b - a);
      }
    }
  }
  // best[k][b]: the least spread of places 0 to b in k + 1 runs, the last of which begins at from.
  std::vector<Point> best(wanted, Point(n + 1, kInfinity));
  std::vector<std::vector<std::size_t>> from(wanted, std::vector<std::size_t>(n + 1));
  for (std::size_t b = 1; b <= n; ++b) best[0][b] = spread[0][b];
  for (std::size_t k = 1; k < wanted; ++k) {
    for (std::size_t b = k + 1; b <= n; ++b) {
      for (std::size_t a = k; a < b; ++a) {
        const double total = best[k - 1][a] + spread[a][b];
        if (total < best[k][b]) {
          best[k][b] = total;
          from[k][b] = a;
        }
      }
    }
  }
  std::vector<std::size_t> ends(wanted);
  std::size_t end = n;
  for (std::size_t k = wanted; k-- > 0;) {
    ends[k] = end;
    end = from[k][end];
  }
  return ends;
}

}  // namespace

HeadClusters cluster_heads(std::span<const float> magnitude, std::int64_t heads,
                           std::int64_t head_dim, std::int64_t groups, std::int64_t head_clusters,
                           std::int64_t channel_clusters) {
  const auto P = static_cast<std::size_t>(head_dim);
  const std::int64_t group_heads = heads / groups;
  HeadClusters result;
  result.cluster.resize(magnitude.size());
  for (std::int64_t group = 0; group < groups; ++group) {
    std::vector<Index> orders;    // of each head's channels
    std::vector<Point> profiles;  // their magnitudes in that order, of unit length
    for (std::int64_t h = group * group_heads; h < (group + 1) * group_heads; ++h) {
      Index order(P);
      std::iota(order.begin(), order.end(), h * head_dim);
      const auto size_of_channel = [&](std::int64_t c) {
        return magnitude[static_cast<std::size_t>(c)];
      };
      std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
        return size_of_channel(a) < size_of_channel(b);
      });
      Point profile;
      double squares = 0;
      for (const std::int64_t c : order) {
        profile.push_back(size_of_channel(c));
        squares += profile.back() * profile.back();
      }
      for (double& x : profile) x /= squares > 0 ? std::sqrt(squares) : 1;
      orders.push_back(std::move(order));
      profiles.push_back(std::move(profile));
    }
    for (const Index& members : ward(profiles, static_cast<std::size_t>(head_clusters))) {
      std::vector<const Point*> seen;
      for (const std::int64_t h : members) seen.push_back(&profiles[static_cast<std::size_t>(h)]);
      const auto ends = cut(seen, static_cast<std::size_t>(channel_clusters));
      for (const std::int64_t h : members) {
        result.heads.push_back(group * group_heads + h);
        std::size_t run = 0;
        for (std::size_t place = 0; place < P; ++place) {
          if (place == ends[run]) ++run;
          const std::int64_t channel = orders[static_cast<std::size_t>(h)][place];
          result.channels.push_back(channel);
          result.cluster[static_cast<std::size_t>(channel)] =
              result.clusters + static_cast<int>(run);
        }
      }
      result.clusters += static_cast<int>(ends.size());
    }
  }
  return result;
}

}  // namespace krait
