"""The style sheet of a comparison's page: light and dark, narrow and printed."""

from __future__ import annotations

from orchestrator.figures.svg import SCHEME

_RULES = """\
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:66rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:2rem;line-height:1.2;margin:.1rem 0 .8rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.6rem 0 .7rem;padding-top:1rem;border-top:1px solid var(--rule)}
p,ul{max-width:46rem}
li{margin:.35rem 0}
.lead{font-size:1.12rem;overflow-wrap:anywhere}
.quiet,figcaption,small{color:var(--grey)}
p.quiet,figcaption{font-size:.88rem;margin:.5rem 0;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.8rem;margin:1.4rem 0}
.tiles div{border:1px solid var(--rule);border-left:4px solid var(--colour-2);border-radius:6px;padding:.7rem .9rem}
.tiles dt{font-size:1.7rem;font-weight:700;line-height:1.2}
.tiles dd{margin:.2rem 0 0;font-size:.88rem;color:var(--grey)}
figure{margin:0}
figcaption{max-width:46rem}
.wide{overflow-x:auto;-webkit-overflow-scrolling:touch}
figure svg{display:block;fill:var(--ink);width:100%;height:auto}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
table{border-collapse:separate;border-spacing:0;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.42rem .6rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule);white-space:nowrap}
thead th{vertical-align:bottom;font-weight:600;border-bottom:1px solid var(--border);white-space:normal}
th:first-child,th.word,td.word{text-align:left}
sup{line-height:0}
tbody th{font-weight:500;white-space:normal;min-width:9rem;max-width:16rem;overflow-wrap:anywhere}
th:first-child{position:sticky;left:0;background:var(--paper)}
.mine{box-shadow:inset 4px 0 var(--colour-2)}
.mine th:first-child{box-shadow:inset 4px 0 var(--colour-2);font-weight:700}
small{display:block;white-space:nowrap;font-size:.8rem;font-weight:400}
.held{color:var(--good)}
.broken{color:var(--bad);font-weight:600}
td.word small{white-space:normal;max-width:12rem;overflow-wrap:anywhere}
summary{cursor:pointer;padding:.3rem 0}
code{font-size:.85em}
@media (max-width:40rem){main{padding:1rem .9rem 3rem}h1{font-size:1.6rem}tbody th{min-width:8.5rem;max-width:9rem}}
@media print{main{max-width:none;padding:0}body{font-size:11pt}.wide{overflow:visible}table{font-size:8pt}
figure,tr,.tiles{break-inside:avoid}h2{break-after:avoid}th,td{padding:.2rem .35rem;white-space:normal}
figure svg{min-width:0!important}th:first-child{position:static}}"""

_OWN = {"good": ("#0a7a4b", "#4cc38a"), "bad": ("#b3261e", "#ff8a80")}


def style_sheet() -> str:
    """CSS with the pictures' colours as variables; a printed page is always light."""
    light = {name: value for name, value, _ in SCHEME.values()} | {name: pair[0] for name, pair in _OWN.items()}
    dark = {name: value for name, _, value in SCHEME.values()} | {name: pair[1] for name, pair in _OWN.items()}
    return (
        f":root{{color-scheme:light dark;{_variables(light)}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(dark)}}}}}\n{_RULES}"
    )


def _variables(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())
