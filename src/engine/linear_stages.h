// Products in several stages (low-rank: two), with a barrier between.
#pragma once

#include "base/thread_pool.h"
#include "engine/workspace.h"
#include "kinglet/linear.h"

namespace kinglet {

/// Runs all but the last stage of a Linear, all threads of the region together; the input of the last on return.
LinearInput run_inner_stages(const Linear& linear, LinearInput x, Workspace& workspace, ThreadPool& pool, int thread);

}  // namespace kinglet
