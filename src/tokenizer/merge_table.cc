#include "tokenizer/merge_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <span>

namespace krait {
namespace {

constexpr std::size_t kShortWord = 32;  // symbols; longer words merge by a heap

std::uint64_t pair_of(TokenId left, TokenId right) noexcept {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
         static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t pair, std::size_t slots) noexcept {
  const std::uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  return (hash ^ (hash >> 32)) & (slots - 1);
}

// Looks through all pairs for each merge. Returns how many symbols are left.
std::size_t merge_short(const MergeTable& table, std::span<TokenId> symbols) {
  std::array<MergeTable::Merge, kShortWord> merges;  // of symbols i and i + 1
  std::size_t n = symbols.size();
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = table.find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < n; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == MergeTable::kNoRank) break;
    symbols[best] = merges[best].id;
    for (std::size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i - 1] = merges[i];
    }
    --n;
    if (best > 0) merges[best - 1] = table.find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) merges[best] = table.find(symbols[best], symbols[best + 1]);
  }
  return n;
}

// A linked list of symbols and a heap of the pairs that merge. An entry whose pair is gone is known
// by its rank, which is no longer that of the pair that now begins there.
std::size_t merge_long(const MergeTable& table, std::span<TokenId> symbols) {
  struct Node {
    std::size_t previous, next;
    MergeTable::Merge merge;  ///< with the next one
  };
  struct Entry {
    std::uint32_t rank;
    std::size_t at;
    bool operator<(const Entry& other) const {  // std's heaps have the greatest on top
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  const std::size_t end = symbols.size();
  std::vector<Node> nodes(end);
  std::vector<Entry> heap;
  heap.reserve(end);
  for (std::size_t i = 0; i < end; ++i) {
    nodes[i] = {i - 1, i + 1, {MergeTable::kNoRank, -1}};
    if (i + 1 < end) nodes[i].merge = table.find(symbols[i], symbols[i + 1]);
    if (nodes[i].merge.rank != MergeTable::kNoRank) heap.push_back({nodes[i].merge.rank, i});
  }
  std::make_heap(heap.begin(), heap.end());
  const auto update = [&](std::size_t i) {
    const std::size_t next = nodes[i].next;
    nodes[i].merge = next < end ? table.find(symbols[i], symbols[next])
                                : MergeTable::Merge{MergeTable::kNoRank, -1};
    if (nodes[i].merge.rank == MergeTable::kNoRank) return;
    heap.push_back({nodes[i].merge.rank, i});
    std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const Entry top = heap.back();
    heap.pop_back();
    Node& node = nodes[top.at];
    if (node.merge.rank != top.rank) continue;
    symbols[top.at] = node.merge.id;
    const std::size_t gone = node.next;
    nodes[gone].merge.rank = MergeTable::kNoRank;
    node.next = nodes[gone].next;
    if (node.next < end) nodes[node.next].previous = top.at;
    update(top.at);
    if (top.at > 0) update(node.previous);
  }
  std::size_t n = 0;
  for (std::size_t i = 0; i < end; i = nodes[i].next) symbols[n++] = symbols[i];
  return n;
}

}  // namespace

void MergeTable::reserve(std::size_t count) {
  slots_.assign(std::bit_ceil(std::max<std::size_t>(2 * count, 16)), Slot{});
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t pair = pair_of(left, right);
  std::size_t i = slot_of(pair, slots_.size());
  while (slots_[i].pair != UINT64_MAX && slots_[i].pair != pair) i = (i + 1) & (slots_.size() - 1);
  slots_[i] = {pair, merge};
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const noexcept {
  const std::uint64_t pair = pair_of(left, right);
  for (std::size_t i = slot_of(pair, slots_.size());; i = (i + 1) & (slots_.size() - 1)) {
    if (slots_[i].pair == pair || slots_[i].pair == UINT64_MAX) return slots_[i].merge;
  }
}

void merge_symbols(const MergeTable& merges, std::vector<TokenId>& ids, std::size_t first) {
  const std::span<TokenId> symbols(ids.data() + first, ids.size() - first);
  const std::size_t left =
      symbols.size() <= kShortWord ? merge_short(merges, symbols) : merge_long(merges, symbols);
  ids.resize(first + left);
}

}  // namespace krait
