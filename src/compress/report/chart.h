// Charts as inline SVG. Colours come from the page's style (currentColor, var(--accent), …), so that they follow its
// theme.
#pragma once

#include <string>
#include <vector>

#include "kinglet/report.h"

namespace kinglet {

/// Size against KL divergence (logarithmic): the models as labelled points, the candidates as faint ones. "" where
/// fewer than two points have a divergence.
std::string size_chart(const Report& report);

/// Error of each layer as bars (logarithmic): hidden rows and weights of one model.
std::string layer_chart(const ModelFigures& model);

}  // namespace kinglet
