#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace basalt::placement {

/// Weighted rendezvous hashing ("highest random weight": Thaler and Ravishankar, IEEE/ACM
/// Transactions on Networking 6(1), 1998), for choosing several at once without bias.
///
/// Each candidate gets a score from the key, the candidate and its rate, exponentially distributed;
/// the lowest win. For one winner, rates in proportion to the weights give each its share. For
/// several they don't: large ones, which can win only once, get too little (with three of the
/// weights 3 to 10, 8 % too little for the largest and 11 % too much for the smallest; CRUSH has
/// the same bias). calibrate() finds the rates that do.
///
/// A candidate that goes away takes nothing from the others, and one that comes takes from all in
/// proportion, but for what calibration shifts.

/// The chance that each candidate has to be among `wanted` winners: in proportion to its weight
/// and at most `caps` of its own (1 if `caps` is empty), what is above going to the others. The sum
/// is `wanted`, or that of all caps if it is less. Candidates without weight get nothing.
[[nodiscard]] std::vector<double> shares(std::span<const double> weights,
                                         double wanted,
                                         std::span<const double> caps = {});

/// Rates with which the lowest `wanted` scores go to each candidate with the chance that it is to
/// have. `chances` are from 0 to 1 and have the sum `wanted`. Infinite: always; 0: never.
/// Takes O(candidates * wanted) some hundred times.
[[nodiscard]] std::vector<double> calibrate(std::span<const double> chances, uint32_t wanted);

/// What calibrate() makes right: the chance to be among the lowest `wanted`, by `rates`, which are
/// finite and above 0.
[[nodiscard]] std::vector<double> chances_of(std::span<const double> rates, uint32_t wanted);

/// The score of `candidate` (a hash that names it) for `key`. The same everywhere, but for the last
/// bit of a logarithm; infinite if the rate is 0.
[[nodiscard]] double score(uint64_t key, uint64_t candidate, double rate);

/// Indexes of the lowest `wanted` of `scores`, lowest first; without those that are infinite.
[[nodiscard]] std::vector<uint32_t> lowest(std::span<const double> scores, uint32_t wanted);

}  // namespace basalt::placement
