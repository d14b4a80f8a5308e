// What a pass of the target takes by its number of rows, measured while passes are made, and how much a proposal may
// therefore cost.
#pragma once

#include <cstddef>

namespace kinglet {

/// Seconds of a pass = level * shape(rows). The level follows the machine's momentary load. The shape, 1 for one row,
/// has one slope for the first rows, which mostly hide behind the reading of the weights, and one for those after; it
/// is learnt from passes that followed each other, so that a neighbour's burst of work does not look like a property of
/// some number of rows. One for a loop.
class PassCosts {
 public:
  /// A pass of `rows` rows, all of them decoding, took `seconds`.
  void observe(std::size_t rows, double seconds);
  /// shape(rows): how many passes of one row this one takes.
  double relative(std::size_t rows) const;
  /// Seconds of a pass of one row; 0 before the first.
  double level() const { return level_; }

  /// The rows that the coming pass has beside the stream that asks, and the streams they belong to.
  void set_others(std::size_t rows, std::size_t streams) { other_rows_ = rows, other_streams_ = streams; }
  /// Tokens per time of a pass in which this stream has 1 + `drafted` rows and expects `tokens` tokens, `spent` passes
  /// of one row having gone into the draft itself, over those of a pass without a draft: above 1 the draft pays.
  double value(std::size_t drafted, double tokens, double spent = 0) const;

 private:
  static constexpr double kFirstSlope = 0.03, kSecondSlope = 0.11;  ///< where learning starts
  double first_slope_ = kFirstSlope, second_slope_ = kSecondSlope;
  double level_ = 0, last_seconds_ = 0;
  std::size_t last_rows_ = 0;
  int compared_ = 0;
  std::size_t other_rows_ = 0, other_streams_ = 0;
};

}  // namespace kinglet
