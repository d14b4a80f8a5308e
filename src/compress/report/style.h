// The look of the report: one file, no scripts, light and dark, from telephones to wide screens.
#pragma once

#include <string_view>

namespace kinglet {

inline constexpr std::string_view kReportStyle = R"css(
:root {
  --back: #ffffff; --panel: #f5f6f8; --text: #1c2126; --soft: #5b6570; --line: #d9dee3;
  --accent: #0b63c5; --second: #b4540a; --good: #1a7f37; --warn: #9a6700; --bad: #c1272d;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171a; --panel: #1d2226; --text: #e4e8ec; --soft: #9aa5b1; --line: #343b42;
    --accent: #6cb2ff; --second: #f0a35e; --good: #57c575; --warn: #e0b341; --bad: #ff7b72;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 8px; }
p { margin: 8px 0; max-width: 76ch; }
.soft { color: var(--soft); }
.lead { font-size: 1.05rem; }
.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 20px 0 8px; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.card b { display: block; font-size: 1.45rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--soft); font-size: .85rem; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: 7px 10px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, .text { text-align: left; }
td.text { white-space: normal; min-width: 18ch; }
tbody th { font-weight: 600; }
figure { margin: 12px 0; border: 1px solid var(--line); border-radius: 8px; padding: 8px; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 520px; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; padding: 4px 8px; }
svg .tick { fill: var(--soft); font-size: 12px; } svg .label { fill: var(--text); font-size: 13px; font-weight: 600; }
svg .note { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .source { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .point { fill: var(--accent); } svg .candidate { fill: var(--soft); opacity: .5; }
svg .hidden { fill: var(--accent); } svg .weights { fill: var(--second); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
.answers { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); margin: 6px 0 22px; }
.answer { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px; }
.answer p { margin: 4px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.answer small { color: var(--soft); }
mark { background: none; color: var(--bad); font-weight: 600; }
code, pre { font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; font-size: .86rem; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px; overflow-x: auto; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: minmax(8em, max-content) 1fr; gap: 4px 16px; margin: 8px 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 560px) { main { padding: 16px 14px 48px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: 8px; } }
)css";

}  // namespace kinglet
