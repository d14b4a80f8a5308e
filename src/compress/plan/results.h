// What plans cost once they were carried out: the planner's sums of errors rank plans, and measured results say how far
// to believe them.
#pragma once

#include <string>

#include "kinglet/pass.h"

namespace kinglet {

/// A prediction moved towards what was measured for the same step of the same model and text at other targets.
struct CorrectedLoss {
  double loss = 0;
  int results = 0;  ///< that it goes by
};

/// The prediction times the mean of measured over predicted (logarithmic, near predictions counting more, and one weak
/// vote for the prediction as it is).
CorrectedLoss corrected_loss(const PassContext& context, const RecipeStep& step, double predicted);

/// Keeps a result in the cache folder, for later predictions. What cannot be written is left away.
void keep_result(const PassContext& context, const RecipeStep& step, double predicted, double measured);

}  // namespace kinglet
