#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "base/cpu.h"
#include "base/interrupt.h"
#include "base/try.h"
#include "cli/command.h"
#include "cli/constraint.h"
#include "cli/drafter.h"
#include "cli/generation.h"
#include "cli/output.h"
#include "cli/peer.h"
#include "cli/strategies.h"
#include "decode/prompt.h"
#include "kinglet/measure.h"
#include "kinglet/store.h"

namespace kinglet {
namespace {

using nlohmann::ordered_json;

/// Above this share of the machine taken by others, a round says little (shared machines lose half their bandwidth to
/// one busy neighbour).
constexpr double kMostForeign = 0.05;

constexpr OptionSpec kOptions[] = {
    {.name = "tests",
     .value_name = "LIST",
     .help = "Comma-separated: decode, prefill, prefillN, batchN, depthN",
     .fallback = "decode,prefill,batch2,batch4,batch8,batch16,depth1024,depth4096"},
    {.name = "rounds",
     .letter = 'r',
     .kind = OptionKind::kInteger,
     .value_name = "N",
     .help = "How often each test runs; the median counts (without it: 3, with --against 5)",
     .min = 1,
     .max = 1000},
    {.name = "against",
     .value_name = "DIR|llama.cpp",
     .help = "Alternate with the programs llama-bench and llama-batched-bench of this folder, on the same file"},
    {.name = "peer-args", .value_name = "WORDS", .help = "With --against: further options for these programs"},
    {.name = "strategies",
     .kind = OptionKind::kFlag,
     .help = "Instead: plain decoding, ngram, layers, auto and --drafter on the same tasks, in alternation"},
    {.name = "pair",
     .value_name = "SMALL",
     .help = "With --strategies: every strategy there is, with this second model where it needs one"},
    {.name = "tasks",
     .kind = OptionKind::kFile,
     .value_name = "F",
     .help = "With --strategies: a {\"task\",\"prompt\"} or {\"task\",\"messages\"} a line (without it a small set)"},
    {.name = "only",
     .value_name = "A;B",
     .help = "With --strategies: these beside plain decoding; drafters, or options such as --early-exit 16:0.9"},
    {.name = "wait",
     .kind = OptionKind::kInteger,
     .value_name = "SECONDS",
     .help = "How long a round waits for other processes to leave the processor alone",
     .fallback = "30",
     .min = 0,
     .max = 3600},
};

struct Measured {
  SpeedTest test;
  std::vector<double> own, peer, ratio;  ///< one a round
  std::vector<double> free = {};         ///< with a grammar: the same without it, in the same round
  bool constrained(const Constraint& constraint) const {
    return constraint.given() && test.kind != SpeedTest::Kind::kPrefill;
  }
};

double median(std::vector<double> values) { return percentile(values, 0.5); }

std::vector<double> quotients(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> out;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) out.push_back(b[i] > 0 ? a[i] / b[i] : 0);
  return out;
}

double spread(const std::vector<double>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double middle = median(values);
  return middle > 0 ? (*high - *low) / middle : 0;
}

class Bench {
 public:
  explicit Bench(const Arguments& arguments) : arguments_(arguments) {}
  Result<void> run();

 private:
  Result<void> parse_tests();
  Result<void> load();
  Result<void> rounds();
  Result<void> run_own(Measured& measured);
  Result<void> round(std::vector<Measured>& figures);
  Result<void> wait_for_quiet();
  void probe();
  double share_of_bandwidth(const Measured& measured) const;
  std::string bottleneck(const Measured& measured) const;
  ordered_json json() const;
  std::string text() const;

  const Arguments& arguments_;
  std::vector<Measured> measured_;
  std::string path_;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  std::optional<SpeedMeter> meter_;
  std::optional<Peer> peer_;
  Constraint constraint_;
  std::vector<double> bandwidth_;
  double load_ms_ = 0, foreign_ = 0;
  std::uint64_t peak_ = 0;
  int rejected_ = 0, noisy_ = 0;
};

Result<void> Bench::parse_tests() {
  const std::string list = arguments_.text("tests");
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    const std::string name = list.substr(at, end - at);
    at = end + 1;
    if (name == "load" || name == "memory") continue;  // always reported
    KINGLET_TRY(SpeedTest test, parse_speed_test(name));
    measured_.push_back({std::move(test), {}, {}, {}});
  }
  return {};
}

Result<void> Bench::load() {
  KINGLET_TRY(EngineOptions options, engine_options(arguments_));
  KINGLET_TRY(path_, resolve_model(arguments_.positional()[0]));
  if (arguments_.given("against")) {
    if (!path_.ends_with(".gguf"))
      return fail(ErrorCode::kInvalidArgument, "--against needs a GGUF file that both engines read", "", path_);
    KINGLET_TRY(peer_, Peer::find(arguments_.text("against"), arguments_.text("peer-args")));
  }
  const auto start = std::chrono::steady_clock::now();
  KINGLET_TRY(model_, load_model(arguments_.positional()[0], arguments_));
  KINGLET_CHECK(check_generates(*model_));
  KINGLET_TRY(engine_, Engine::create(model_, options));
  load_ms_ = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  GenerateOptions drafting;
  KINGLET_CHECK(open_drafter(drafter_spec(arguments_), arguments_, *engine_, drafting));
  meter_.emplace(*engine_, drafting.drafter, drafting.draft_model);
  KINGLET_TRY(constraint_, Constraint::from(arguments_));
  KINGLET_CHECK(constraint_.bind(model_->tokenizer()));
  return {};
}

/// The probe's own memory is kept out of the peak.
void Bench::probe() {
  peak_ = std::max(peak_, peak_memory());
  bandwidth_.push_back(measure_bandwidth(model_->threads()));
  reset_peak_memory();
}

Result<void> Bench::wait_for_quiet() {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(arguments_.integer("wait"));
  ForeignLoad load;
  for (bool told = false;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const double share = load.share();
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    if (share <= kMostForeign || std::chrono::steady_clock::now() >= limit) return {};
    if (!told)
      note("other processes take " + std::to_string(static_cast<int>(100 * share)) + " % of the processor; waiting");
    told = true;
  }
}

Result<void> Bench::run_own(Measured& measured) {
  if (measured.constrained(constraint_))
    meter_->prepare = [&](GenerateRequest& request) {
      request.options.ignore_eos = false;
      request.options.jump_ahead = !arguments_.flag("no-jump-ahead");
      constraint_.constrain(request);
    };
  const auto own = meter_->run(measured.test);
  meter_->prepare = nullptr;
  KINGLET_CHECK(own);
  measured.own.push_back(*own);
  return {};
}

Result<void> Bench::round(std::vector<Measured>& figures) {
  for (std::size_t i = 0; i < figures.size(); ++i) {
    Measured& measured = figures[i];
    // Who comes first finds colder caches: with and without the grammar take turns.
    const bool own_first = measured_[i].own.size() % 2 == 1;
    if (own_first) KINGLET_CHECK(run_own(measured));
    if (measured.constrained(constraint_)) {
      KINGLET_TRY(const double free, meter_->run(measured.test));
      measured.free.push_back(free);
    }
    if (!own_first) KINGLET_CHECK(run_own(measured));
    if (!peer_) continue;
    if (interrupted()) return fail(ErrorCode::kCancelled, "interrupted");
    KINGLET_TRY(const double peer, peer_->run(measured.test, {path_, model_->threads(), engine_->options().cache}));
    measured.peer.push_back(peer);
    measured.ratio.push_back(measured.own.back() / peer);
  }
  return {};
}

Result<void> Bench::rounds() {
  const auto wanted = static_cast<int>(arguments_.given("rounds") ? arguments_.integer("rounds") : peer_ ? 5 : 3);
  // The first run of each test warms caches and fills the deep sequences; nobody counts it.
  for (const Measured& measured : measured_) KINGLET_CHECK(meter_->run(measured.test));
  for (int done = 0; done < wanted;) {
    KINGLET_CHECK(wait_for_quiet());
    probe();
    std::vector<Measured> figures;
    for (const Measured& measured : measured_) figures.push_back({measured.test, {}, {}, {}});
    ForeignLoad load;
    KINGLET_CHECK(round(figures));
    const double share = load.share();
    const bool noisy = share > kMostForeign;
    // A machine that is never quiet gets its figures too, and is told so.
    if (noisy && rejected_ < wanted) {
      ++rejected_;
      bandwidth_.pop_back();
      note("round rejected: other processes took " + std::to_string(static_cast<int>(100 * share)) +
           " % of the processor");
      continue;
    }
    noisy_ += noisy;
    foreign_ = std::max(foreign_, share);
    ++done;
    for (std::size_t i = 0; i < measured_.size(); ++i) {
      measured_[i].own.push_back(figures[i].own[0]);
      measured_[i].free.insert(measured_[i].free.end(), figures[i].free.begin(), figures[i].free.end());
      if (!peer_) continue;
      measured_[i].peer.push_back(figures[i].peer[0]);
      measured_[i].ratio.push_back(figures[i].ratio[0]);
    }
    note("round " + std::to_string(done) + " of " + std::to_string(wanted) + " done");
  }
  peak_ = std::max(peak_, peak_memory());
  return {};
}

/// Of the weights alone: tokens a second of one sequence times the bytes that a step reads, over the probe of its
/// round.
double Bench::share_of_bandwidth(const Measured& measured) const {
  const int rows = measured.test.kind == SpeedTest::Kind::kBatch ? measured.test.size : 1;
  std::vector<double> shares;
  for (std::size_t i = 0; i < measured.own.size() && i < bandwidth_.size(); ++i)
    if (bandwidth_[i] > 0)
      shares.push_back(measured.own[i] / rows * static_cast<double>(model_->bytes_per_token()) / bandwidth_[i]);
  return median(shares);
}

std::string Bench::bottleneck(const Measured& measured) const {
  if (measured.test.kind == SpeedTest::Kind::kPrefill)
    return "arithmetic (each weight that is read serves many tokens)";
  const double share = share_of_bandwidth(measured);
  char text[160];
  std::snprintf(text, sizeof text, "%s (weights take %.0f %% of the measured bandwidth)",
                share >= 0.6                                    ? "memory bandwidth"
                : measured.test.kind == SpeedTest::Kind::kDepth ? "attention over the cache"
                : measured.test.kind == SpeedTest::Kind::kBatch ? "arithmetic"
                                                                : "arithmetic and synchronisation",
                100 * share);
  return text;
}

/// How matrices are multiplied whose types leave a choice.
std::set<std::string> kernels_of(const Model& model) {
  std::set<std::string> kernels;
  const auto add = [&](const std::shared_ptr<Linear>& linear) {
    if (!linear) return;
    for (const Linear* part : packed_parts(*linear))
      if (std::string kernel = part->kernel(); !kernel.empty()) kernels.insert(std::move(kernel));
  };
  add(model.embedding);
  add(model.head);
  for (const LayerWeights& layer : model.layers)
    for (const auto* linear :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down})
      add(*linear);
  return kernels;
}

ordered_json Bench::json() const {
  ordered_json value = ordered_json::object();
  for (const Measured& measured : measured_) {
    ordered_json entry = {{"tokens_per_second", median(measured.own)},
                          {"spread", spread(measured.own)},
                          {"rounds", measured.own},
                          {"bottleneck", bottleneck(measured)}};
    if (measured.test.kind != SpeedTest::Kind::kPrefill) entry["bandwidth_share"] = share_of_bandwidth(measured);
    if (!measured.free.empty())
      entry["unconstrained"] = {{"tokens_per_second", median(measured.free)},
                                {"rounds", measured.free},
                                {"ratio", median(quotients(measured.own, measured.free))}};
    if (peer_)
      entry["against"] = {{"tokens_per_second", median(measured.peer)},
                          {"spread", spread(measured.peer)},
                          {"rounds", measured.peer},
                          {"ratio", median(measured.ratio)},
                          {"ratio_min", *std::min_element(measured.ratio.begin(), measured.ratio.end())},
                          {"ratio_max", *std::max_element(measured.ratio.begin(), measured.ratio.end())}};
    value[measured.test.name] = entry;
  }
  if (const std::set<std::string> kernels = kernels_of(*model_); !kernels.empty()) value["kernels"] = kernels;
  value["bandwidth_gbps"] = median(bandwidth_) / 1e9;
  for (const Measured& measured : measured_)
    if (measured.test.kind == SpeedTest::Kind::kDecode) value["bandwidth_share"] = share_of_bandwidth(measured);
  value["load_ms"] = load_ms_;
  value["peak_bytes"] = peak_;
  value["model"] = {{"path", path_},
                    {"file_bytes", model_->file_bytes()},
                    {"weight_bytes", model_->weight_bytes()},
                    {"bytes_per_token", model_->bytes_per_token()}};
  const Machine machine = describe_machine();
  value["machine"] = {{"processor", machine.processor},
                      {"cores", machine.cores},
                      {"memory_bytes", machine.memory_bytes},
                      {"system", machine.system},
                      {"isa", std::string(isa_name(active_isa()))}};
  value["threads"] = model_->threads();
  value["cache"] = arguments_.text("cache");
  value["rejected_rounds"] = rejected_;
  value["noisy_rounds"] = noisy_;
  if (peer_) value["against"] = peer_->folder();
  return value;
}

std::string Bench::text() const {
  const Machine machine = describe_machine();
  char line[320];
  std::snprintf(line, sizeof line, "%s, %d cores, %s kernels, %d threads, cache %s\n", machine.processor.c_str(),
                machine.cores, std::string(isa_name(active_isa())).c_str(), model_->threads(),
                arguments_.text("cache").c_str());
  std::string text = escape_for_terminal(path_) + "\n" + line;
  std::snprintf(line, sizeof line, "bandwidth %.1f GB/s, %.1f MB read a token, load %.0f ms, peak memory %.1f MB\n",
                median(bandwidth_) / 1e9, static_cast<double>(model_->bytes_per_token()) / 1e6, load_ms_,
                static_cast<double>(peak_) / 1e6);
  text += line;
  for (const std::string& kernel : kernels_of(*model_)) text += "kernel: " + kernel + "\n";
  std::snprintf(line, sizeof line, "\n%-12s %10s %8s", "test", "tokens/s", "spread");
  text += line;
  if (peer_) {
    std::snprintf(line, sizeof line, " %10s %7s %15s", "peer", "ratio", "(min-max)");
    text += line;
  }
  text += "  limited by\n";
  for (const Measured& measured : measured_) {
    std::snprintf(line, sizeof line, "%-12s %10.1f %7.1f%%", measured.test.name.c_str(), median(measured.own),
                  100 * spread(measured.own));
    text += line;
    if (peer_) {
      const auto [low, high] = std::minmax_element(measured.ratio.begin(), measured.ratio.end());
      std::snprintf(line, sizeof line, " %10.1f %6.2fx  (%5.2f-%5.2f)", median(measured.peer), median(measured.ratio),
                    *low, *high);
      text += line;
    }
    text += "  " + bottleneck(measured) + "\n";
    if (measured.free.empty()) continue;
    std::snprintf(line, sizeof line, "%-12s %10.1f          constrained: %.3fx\n", "  free", median(measured.free),
                  median(quotients(measured.own, measured.free)));
    text += line;
  }
  if (noisy_ > 0) {
    std::snprintf(line, sizeof line, "\nNot quiet: other processes took up to %.0f %% of the processor in %d rounds.\n",
                  100 * foreign_, noisy_);
    text += line;
  }
  return text;
}

Result<void> Bench::run() {
  if (arguments_.flag("strategies")) {
    KINGLET_TRY(model_, load_model(arguments_.positional()[0], arguments_));
    KINGLET_CHECK(check_generates(*model_));
    return bench_strategies(arguments_, model_);
  }
  KINGLET_CHECK(parse_tests());
  KINGLET_CHECK(load());
  KINGLET_CHECK(rounds());
  return arguments_.flag("json") ? print_json(json()) : print(text());
}

Result<void> run(const Arguments& arguments) { return Bench(arguments).run(); }

constexpr std::span<const OptionSpec> kSets[] = {kOptions};
constexpr std::string_view kExamples[] = {
    "kinglet bench smollm2-135m-instruct",
    "kinglet bench gemma-3-270m --tests decode,prefill --rounds 9 --json",
    "kinglet bench qwen2.5-coder-0.5b-instruct --strategies --rounds 5  # which drafter pays",
    "kinglet bench smollm2-135m-instruct --against llama.cpp  # after tools/build_llama_cpp",
};

}  // namespace

extern const Command command_bench = {
    .name = "bench",
    .group = CommandGroup::kMeasure,
    .summary = "Measure speed and memory, alone or against llama.cpp",
    .usage = "MODEL [options]",
    .description =
        "Greedy decoding after a short prompt (decode: 128 tokens), of N sequences side by side (batchN: 32 tokens "
        "each, "
        "tokens a second of all together), with N positions in the cache (depthN: 32 tokens); and reading a prompt "
        "(prefill: 512 tokens). Each round begins with a probe of the memory bandwidth; rounds in which other "
        "processes take more than 5 % of the processor are repeated. The median over the rounds counts, and with "
        "--against the median of the ratios of each round.",
    .options = kSets,
    .examples = kExamples,
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
    .more_options = generation_options,
};

}  // namespace kinglet
