#include "compress/report/chart.h"

#include <algorithm>
#include <cmath>

#include "base/progress.h"
#include "compress/report/format.h"

namespace kinglet {
namespace {

constexpr double kWidth = 720, kHeight = 300, kLeft = 64, kRight = 24, kTop = 16, kBottom = 44;

std::string open_svg(const std::string& title, double height) {
  return "<svg viewBox=\"0 0 " + number("%.0f", kWidth) + " " + number("%.0f", height) +
         "\" role=\"img\" aria-label=\"" + html(title) + "\">\n";
}

std::string text_at(double x, double y, const char* anchor, const std::string& text, const char* kind = "tick") {
  return "<text class=\"" + std::string(kind) + "\" x=\"" + number("%.1f", x) + "\" y=\"" + number("%.1f", y) +
         "\" text-anchor=\"" + anchor + "\">" + html(text) + "</text>\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* kind) {
  return "<line class=\"" + std::string(kind) + "\" x1=\"" + number("%.1f", x1) + "\" y1=\"" + number("%.1f", y1) +
         "\" x2=\"" + number("%.1f", x2) + "\" y2=\"" + number("%.1f", y2) + "\"/>\n";
}

/// A logarithmic axis over whole powers of ten that hold all values.
struct LogAxis {
  double low = 1, high = 1;
  static LogAxis over(const std::vector<double>& values) {
    LogAxis axis;
    axis.low = std::pow(10, std::floor(std::log10(*std::min_element(values.begin(), values.end()))));
    axis.high = std::pow(10, std::ceil(std::log10(*std::max_element(values.begin(), values.end())) + 1e-9));
    if (axis.high <= axis.low) axis.high = axis.low * 10;
    return axis;
  }
  double place(double value) const { return std::log(value / low) / std::log(high / low); }
};

std::string log_grid(const LogAxis& axis, double height) {
  std::string out;
  const double span = height - kTop - kBottom;
  for (double tick = axis.low; tick <= axis.high * 1.0001; tick *= 10) {
    const double y = height - kBottom - span * axis.place(tick);
    out += line(kLeft, y, kWidth - kRight, y, "grid");
    out += text_at(kLeft - 8, y + 4, "end", tick < 0.001 ? number("%.0e", tick) : number("%g", tick));
  }
  return out;
}

/// Steps of 1, 2 or 5 times a power of ten that give about `count` ticks.
double tick_step(double span, int count) {
  const double raw = span / count, power = std::pow(10, std::floor(std::log10(raw)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= raw) return factor * power;
  return 10 * power;
}

}  // namespace

std::string size_chart(const Report& report) {
  std::vector<ReportPoint> points;
  double most = 0;
  for (const ModelFigures& model : report.models) {
    most = std::max(most, static_cast<double>(model.bytes));
    if (model.quality && model.quality->divergence && model.quality->divergence->mean > 0)
      points.push_back({model.label, model.bytes, model.quality->divergence->mean});
  }
  const std::size_t named = points.size();
  for (const ReportPoint& point : report.candidates)
    if (point.kl > 0) points.push_back(point);
  if (points.empty()) return "";
  std::vector<double> values;
  double least = most;
  for (const ReportPoint& point : points) {
    values.push_back(point.kl);
    least = std::min(least, static_cast<double>(point.bytes));
    most = std::max(most, static_cast<double>(point.bytes));
  }
  const LogAxis axis = LogAxis::over(values);
  const double margin = std::max(0.08 * (most - least), 0.02 * most);
  const double low = std::max(0.0, least - margin), high = most + margin;
  const auto x_of = [&](double bytes) { return kLeft + (kWidth - kLeft - kRight) * (bytes - low) / (high - low); };
  const auto y_of = [&](double kl) { return kHeight - kBottom - (kHeight - kTop - kBottom) * axis.place(kl); };
  std::string out = open_svg("Size of the file against divergence from the source", kHeight) + log_grid(axis, kHeight);
  const double step = tick_step(high - low, 6);
  for (double tick = std::ceil(low / step) * step; tick <= high; tick += step) {
    out += line(x_of(tick), kHeight - kBottom, x_of(tick), kHeight - kBottom + 5, "axis");
    out += text_at(x_of(tick), kHeight - kBottom + 20, "middle", format_bytes(static_cast<std::uint64_t>(tick)));
  }
  out += line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "axis");
  out += text_at((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", "size of the file (smaller is further left)");
  const double source = x_of(static_cast<double>(report.models[0].bytes));
  out += line(source, kTop, source, kHeight - kBottom, "source");
  const bool left = source > kWidth / 2;
  out += text_at(left ? source - 6 : source + 6, kTop + 14, left ? "end" : "start",
                 report.models[0].label + ": no divergence", "note");
  for (std::size_t i = points.size(); i-- > 0;) {
    const double x = x_of(static_cast<double>(points[i].bytes)), y = y_of(points[i].kl);
    const bool main = i < named;
    out += "<circle class=\"" + std::string(main ? "point" : "candidate") + "\" cx=\"" + number("%.1f", x) +
           "\" cy=\"" + number("%.1f", y) + "\" r=\"" + (main ? "6" : "3") + "\"><title>" +
           html(points[i].label + ": " + format_bytes(points[i].bytes) + ", KL " + short_number(points[i].kl)) +
           "</title></circle>\n";
    if (!main) continue;
    const bool right = x < kWidth * 0.7;
    out += text_at(right ? x + 11 : x - 11, y - 8, right ? "start" : "end",
                   points[i].label + " (KL " + short_number(points[i].kl) + ")", "label");
  }
  return out + "</svg>\n";
}

std::string layer_chart(const ModelFigures& model) {
  constexpr double kFloor = 1e-8;  // what is below is drawn as nothing
  std::vector<double> values;
  for (const LayerError& layer : model.layers)
    for (double value : {layer.hidden, layer.weights})
      if (value > kFloor) values.push_back(value);
  if (values.empty()) return "";
  LogAxis axis = LogAxis::over(values);
  const double height = 240, base = height - kBottom;
  const double slot = (kWidth - kLeft - kRight) / static_cast<double>(model.layers.size());
  std::string out = open_svg("Error of each layer of " + model.label, height) + log_grid(axis, height);
  const auto bar = [&](std::size_t i, double value, double offset, const char* kind) {
    if (value <= kFloor) return;
    const double top = base - (height - kTop - kBottom) * axis.place(value);
    out += "<rect class=\"" + std::string(kind) + "\" x=\"" +
           number("%.1f", kLeft + slot * (static_cast<double>(i) + offset)) + "\" y=\"" + number("%.1f", top) +
           "\" width=\"" + number("%.1f", slot * 0.38) + "\" height=\"" + number("%.1f", std::max(base - top, 1.0)) +
           "\"><title>layer " + std::to_string(i) + ": " + short_number(value) + "</title></rect>\n";
  };
  const std::size_t every = std::max<std::size_t>(1, (model.layers.size() + 15) / 16);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    bar(i, model.layers[i].hidden, 0.1, "hidden");
    bar(i, model.layers[i].weights, 0.52, "weights");
    if (i % every == 0)
      out += text_at(kLeft + slot * (static_cast<double>(i) + 0.5), base + 18, "middle", std::to_string(i));
  }
  out += line(kLeft, base, kWidth - kRight, base, "axis");
  out += text_at((kLeft + kWidth - kRight) / 2, height - 6, "middle", "layer");
  return out + "</svg>\n";
}

}  // namespace kinglet
