// Sort-and-cluster of Quamba2 (Chiang et al. 2025, arXiv 2503.22879, section 4.1): channels of an
// activation whose magnitudes are alike, head by head, get one static scale.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace krait {

struct HeadClusters {
  std::vector<std::int64_t> heads;     ///< [H] the old head at each new place
  std::vector<std::int64_t> channels;  ///< [H P] the old channel at each new place
  std::vector<int> cluster;            ///< [H P] by old channel
  int clusters = 0;                    ///< at most groups * head_clusters * channel_clusters
};

/// magnitude [H P]: how large each channel gets. Within each of `groups` groups of heads:
///   1. every head's channels are sorted by magnitude, ascending;
///   2. heads are clustered by their sorted magnitudes, scaled to unit length: Ward's agglomerative
///      method, down to `head_clusters`; heads of a cluster become neighbours;
///   3. the P places of a cluster's heads are cut into `channel_clusters` runs with the least sum
///   of
///      squared distances from the run's mean (exactly, by dynamic programming; the authors take
///      k-means, which finds the same kind of runs).
/// Ties keep the original order, so that the result is the same everywhere. Channels never leave
/// their head, heads never leave their group.
HeadClusters cluster_heads(std::span<const float> magnitude, std::int64_t heads,
                           std::int64_t head_dim, std::int64_t groups, std::int64_t head_clusters,
                           std::int64_t channel_clusters);

}  // namespace krait
