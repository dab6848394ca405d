"""The page of gpu.py: a table for each part, and what failed."""

from pathlib import Path
from typing import Any

from jinja2 import Environment

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>eml on a GPU</title>
<style>
:root {
  color-scheme: light dark;
  --line: light-dark(#ddd, #444); --quiet: light-dark(#555, #aaa); --bad: light-dark(#b00020, #ff8a80);
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1160px; padding: 16px }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin: 2em 0 .3em }
.quiet { color: var(--quiet) } .bad { color: var(--bad) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid var(--line); padding: 4px 12px 4px 0; text-align: right; vertical-align: top }
th:first-child, td:first-child, td.text { text-align: left } td.text { min-width: 8em; overflow-wrap: anywhere }
td:first-child { min-width: 10em } th { font-weight: 600 } pre { overflow-x: auto; font-size: 12px }
</style>
<h1>eml on a GPU</h1>
{% if dry_run %}<p class="bad">A dry run with tiny sizes on the CPU: its figures say nothing.</p>{% endif %}
<p class="quiet">Python {{ python }}{% for name, number in versions.items() if number %}, {{ name }} {{ number }}
{%- endfor %}. {{ "%.0f"|format(seconds) }} s in all.</p>
{% for part in parts %}
<h2>{{ part.title }}</h2>
<p class="{{ "quiet" if part.state == "done" else "bad" }}">{{ part.state }}, {{ part.seconds }} s
{%- for note in part.notes %}<br>{{ note }}{% endfor %}</p>
{% if part.rows %}<div class="wide"><table>
<tr><th></th>{% for column in part.columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in part.rows %}<tr><td>{{ row.name }}</td>{% for column in part.columns %}
<td{% if row[column] is string %} class="text"{% endif %}>{{ shown(row.get(column)) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}
{% for failure in part.failures %}
{% if failure.reason %}<p class="quiet">Skipped {{ failure.name }}: {{ failure.reason }}</p>
{% else %}<details><summary class="bad">Failed: {{ failure.name }}: {{ failure.error }}</summary>
<pre>{{ failure.traceback }}</pre></details>{% endif %}
{% endfor %}
{% endfor %}
</html>
"""


def shown(value: Any) -> str:
    """Return a cell's text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def write_page(result: dict[str, Any], path: Path) -> None:
    """Write the page of a result."""
    parts = []
    for part in result["parts"]:
        columns = dict.fromkeys(
            key for row in part["rows"] for key, value in row.items() if key != "name" and value is not None
        )
        parts.append(part | {"columns": list(columns)})
    template = Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    path.write_text(template.render(result | {"parts": parts, "shown": shown}), encoding="utf-8")
