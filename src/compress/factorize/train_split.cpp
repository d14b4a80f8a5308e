#include "compress/factorize/train_split.h"

#include <algorithm>
#include <cmath>

#include "compress/factorize/symmetric_eigen.h"

namespace kinglet {
namespace {

/// Left singular vectors [count, rows] of a matrix, and all squared singular values.
struct Cut {
  std::vector<double> squares, left;
};

std::vector<double> transposed(const std::vector<double>& a, std::int64_t rows, std::int64_t columns) {
  std::vector<double> result(a.size());
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) result[static_cast<std::size_t>(j * rows + i)] = a[i * columns + j];
  return result;
}

/// The first `most` left singular vectors of m [rows, columns] and all squared singular values.
Cut cut_of(const std::vector<double>& m, std::int64_t rows, std::int64_t columns, std::int64_t most, ThreadPool& pool) {
  const std::int64_t full = std::min(rows, columns), count = std::min(most, full);
  const bool wide = rows <= columns;
  const std::vector<double> turned = wide ? std::vector<double>() : transposed(m, rows, columns);
  SymmetricEigen eigen = symmetric_eigen(wide ? gram(m, columns, pool) : gram(turned, rows, pool), full, count, pool);
  for (double& value : eigen.values) value = std::max(value, 0.0);
  if (wide) return {std::move(eigen.values), std::move(eigen.vectors)};
  // Right vectors were found: the left ones are m v / s. Where s is nothing, so is what they would carry.
  std::vector<double> left = product_transposed(eigen.vectors, m, columns, pool);
  for (std::int64_t c = 0; c < count; ++c) {
    const double size = std::sqrt(eigen.values[static_cast<std::size_t>(c)]);
    for (std::int64_t r = 0; r < rows; ++r) left[static_cast<std::size_t>(c * rows + r)] *= size > 0 ? 1 / size : 0;
  }
  return {std::move(eigen.values), std::move(left)};
}

/// W with its digits as (o_1, i_1, o_2, i_2, ...).
std::vector<double> interleaved(const TrainShape& shape, std::span<const float> values) {
  const std::int64_t inputs_all = [&] {
    std::int64_t product = 1;
    for (std::int64_t each : shape.inputs) product *= each;
    return product;
  }();
  std::vector<double> tensor(values.size());
  for (std::size_t at = 0; at < values.size(); ++at) {
    std::int64_t output = static_cast<std::int64_t>(at) / inputs_all,
                 input = static_cast<std::int64_t>(at) % inputs_all;
    std::int64_t place = 0, stride = 1;
    for (int s = shape.sites() - 1; s >= 0; --s) {
      const std::int64_t o = shape.outputs[static_cast<std::size_t>(s)], i = shape.inputs[static_cast<std::size_t>(s)];
      place += (output % o * i + input % i) * stride;
      stride *= o * i;
      output /= o;
      input /= i;
    }
    tensor[static_cast<std::size_t>(place)] = values[at];
  }
  return tensor;
}

/// Row (b, c) of a site: left singular vector c, over what the site before took, times the root of its own value.
void put_row(const TrainShape& shape, int s, std::int64_t b, std::int64_t c, std::int64_t kept,
             const std::vector<double>& left, const std::vector<double>& before, const std::vector<double>& own,
             std::vector<float>& site) {
  const std::int64_t width = shape.columns(s), rows = static_cast<std::int64_t>(before.size()) * width;
  const double taken = before[static_cast<std::size_t>(b)];
  const double by = taken > 0 ? own[static_cast<std::size_t>(c)] / taken : 0;
  for (std::int64_t x = 0; x < width; ++x)
    site[static_cast<std::size_t>((b * kept + c) * width + x)] =
        static_cast<float>(left[static_cast<std::size_t>(c * rows + b * width + x)] * by);
}

}  // namespace

TrainSplit::TrainSplit(TrainShape shape, std::span<const float> values, std::int64_t most, ThreadPool& pool)
    : shape_(std::move(shape)) {
  for (int s = 0; s + 1 < shape_.sites(); ++s) shape_.bonds[static_cast<std::size_t>(s) + 1] = full_bond(shape_, s);
  for (float value : values) total_ += double(value) * value;
  tensor_ = interleaved(shape_, values);
  const std::int64_t rows = shape_.columns(0);
  Cut cut = cut_of(tensor_, rows, static_cast<std::int64_t>(tensor_.size()) / rows, most, pool);
  squares_ = std::move(cut.squares);
  left_ = std::move(cut.left);
}

double TrainSplit::error(std::int64_t bond) const {
  double sum = 0;
  for (std::size_t i = squares_.size(); i > static_cast<std::size_t>(bond); --i) sum += squares_[i - 1];
  return sum;
}

std::vector<std::vector<float>> TrainSplit::sites(std::int64_t bond, TrainShape& shape, ThreadPool& pool) const {
  shape = shape_;
  std::vector<std::vector<float>> sites(static_cast<std::size_t>(shape.sites()));
  std::vector<double> rest = tensor_;
  Cut cut{squares_, left_};
  std::int64_t before = 1;           // bond to the left of the site
  std::vector<double> carried{1.0};  // its roots of singular values, which the site before has taken
  for (int s = 0; s + 1 < shape.sites(); ++s) {
    const std::int64_t rows = before * shape.columns(s);
    const auto columns = static_cast<std::int64_t>(rest.size()) / rows;
    if (s > 0) cut = cut_of(rest, rows, columns, bond, pool);
    const std::int64_t kept = std::clamp<std::int64_t>(bond, 1, static_cast<std::int64_t>(cut.squares.size()));
    shape.bonds[static_cast<std::size_t>(s) + 1] = kept;
    const std::span<const double> left(cut.left.data(), static_cast<std::size_t>(kept * rows));
    std::vector<double> next = product_transposed(left, transposed(rest, rows, columns), rows, pool);
    auto& site = sites[static_cast<std::size_t>(s)];
    site.resize(static_cast<std::size_t>(kept * rows));
    std::vector<double> share(static_cast<std::size_t>(kept));
    for (std::int64_t c = 0; c < kept; ++c) {
      share[static_cast<std::size_t>(c)] = std::sqrt(std::sqrt(cut.squares[static_cast<std::size_t>(c)]));
      for (std::int64_t b = 0; b < before; ++b) put_row(shape, s, b, c, kept, cut.left, carried, share, site);
    }
    carried = std::move(share);
    rest = std::move(next);
    before = kept;
  }
  const auto width = static_cast<std::int64_t>(rest.size()) / before;
  sites.back().resize(rest.size());
  for (std::size_t i = 0; i < rest.size(); ++i) {
    const double by = carried[i / static_cast<std::size_t>(width)];
    sites.back()[i] = static_cast<float>(by > 0 ? rest[i] / by : 0);
  }
  return sites;
}

double train_error(const TrainShape& shape, std::span<const std::vector<float>> sites, std::span<const float> values) {
  std::int64_t outputs = 1;
  for (std::int64_t each : shape.outputs) outputs *= each;
  const std::size_t inputs = values.size() / static_cast<std::size_t>(outputs);
  std::vector<float> row(inputs);
  double sum = 0;
  for (std::int64_t o = 0; o < outputs; ++o) {
    train_row(shape, sites, o, row.data());
    for (std::size_t i = 0; i < inputs; ++i) {
      const double off = double(row[i]) - values[static_cast<std::size_t>(o) * inputs + i];
      sum += off * off;
    }
  }
  return sum;
}

}  // namespace kinglet
