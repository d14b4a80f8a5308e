// One forward call: rows through a range of layers. One function for every architecture; all threads run it together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "engine/attention.h"
#include "engine/rope.h"
#include "engine/workspace.h"
#include "kinglet/engine.h"

namespace kinglet {

/// Everything that is fixed for the life of an engine.
struct ForwardContext {
  const Model& model;
  const RopeTables& rope;
  Workspace& workspace;
  AttentionPlan& attention;
  int max_rows;
};

class ForwardPass {
 public:
  ForwardPass(const ForwardContext& context, const ForwardCall& call);
  /// Runs the layers of the call in one parallel region, or layer by layer where hooks want to look between.
  void run();
  /// Bytes of the matrices that run() multiplied by.
  std::uint64_t weights_read() const { return weights_read_; }

 private:
  /// A product in Workspace::projected that still has to be added to the hidden rows.
  struct Pending {
    const Vector* post_norm = nullptr;  ///< norm of the product before the sum (sandwich norms)
    const Vector* norm = nullptr;       ///< norm of the sum (post-norm models), with its bias
    const Vector* norm_bias = nullptr;
    const std::int32_t* place = nullptr;  ///< where a row's product is, -1: it has none; null: at the row's index
    bool any = false;
  };
  Pending after_attention(int index) const;
  Pending after_feed_forward(int index) const;

  void run_plainly(int first, int last);
  void run_with_hooks(int first, int last);
  void fill_rope(int thread);
  void attention_half(int thread, int index, const Pending& pending);
  void feed_forward_half(int thread, int index, const Pending& pending);
  void load_rows(int thread);
  void store_rows(int thread, const Pending& pending);
  void ask_which_rows_run(int index);

  struct Norm {
    const Vector* weight = nullptr;  ///< null: the rows are taken as they are
    const Vector* bias = nullptr;
  };
  void add_pending(const Pending& pending, std::int32_t row, const RowBuffers& rows);
  LinearInput prepare(int thread, const Pending& pending, Norm norm, std::span<const std::int32_t> rows,
                      bool wants_int8);
  LinearInput quantize(int thread, const float* values, std::size_t columns, int rows, const Linear& reader);
  void multiply(int thread, const Linear& linear, const LinearInput& x, float* y, const Vector& bias);
  void activate(int thread, const Linear& up, int rows);
  void show_input(int thread, int index, TapPoint point, const LinearInput& x) const;
  void fetch_rows(std::int64_t begin, std::int64_t end, const LayerConfig& sizes) const;
  void rotate(int thread, int index);
  void rotate_head(float* x, int row, const Vector& norm, int index, bool rope);
  void attend(int thread, int index);
  void show_attention(int index);

  bool is_private() const { return rows_ <= kPrivateRows; }
  RowBuffers& buffers(int thread) { return is_private() ? space_.own[std::size_t(thread)] : space_.shared; }
  WorkShare row_share(int thread, int rows) const {
    return is_private() ? WorkShare{0, rows} : work_share(rows, thread, threads_);
  }
  void meet() { pool_.barrier(); }
  void meet_unless_private() {
    if (!is_private()) pool_.barrier();
  }

  const Model& model_;
  const ModelConfig& config_;
  const RopeTables& rope_;
  Workspace& space_;
  ThreadPool& pool_;
  const ForwardCall& call_;
  AttentionPlan& attention_;
  int threads_, rows_, max_rows_;
  std::size_t width_;
  // Kept in the workspace, so that a call allocates nothing.
  std::vector<std::int32_t>& all_;     ///< 0 .. rows-1
  std::vector<std::int32_t>& active_;  ///< rows that run the feed-forward: all, unless a hook skips some
  std::vector<std::int32_t>& place_;   ///< the inverse of active_, -1 where a row is skipped
  std::vector<std::int32_t>& positions_;
  std::uint64_t weights_read_ = 0;
};

}  // namespace kinglet
