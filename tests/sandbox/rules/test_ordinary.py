"""What an agent types all day: the rules of the package have nothing to say about it."""

from __future__ import annotations

import pytest

from codex_magic.sandbox.rules import DEFAULTS, Judgement, judge

ORDINARY = [
    "python - <<'EOF'\nimport pandas as pd\ndf = pd.read_csv('a.csv')\nprint(f\"{len(df)}$(rows)\")\nEOF",
    "python - \"$f\" <<'PY' 2>&1 | head -50\nimport sys\nprint(sys.argv)\nPY",
    "cat > analyse.py << 'EOF'\nimport os\nos.system('rm -r x')  # `not run`\nEOF\npython analyse.py",
    'cat > notes.md <<EOF\n# Results of $(date +%F)\nIt\'s $HOME & more; "quoted" (brackets)\nEOF',
    "cat <<'EOF' | sqlite3 db.sqlite\nselect count(*) from t where x > 3;\nEOF",
    'python -c "import sys; print(sys.version)"',
    "python -c '\nimport json\nnb = json.load(open(\"a.ipynb\"))\nprint([c[\"cell_type\"] for c in nb[\"cells\"]])\n'",
    "python3 -m json.tool a.json | head -40",
    "PYTHONUNBUFFERED=1 python train.py 2>&1 | tee log.txt",
    "PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 python -m pytest -q tests/test_a.py -k 'not slow'",
    "MPLBACKEND=Agg python plot.py &> out.log && tail -3 out.log",
    "export X=1; python s.py",
    'for f in data/*.csv; do echo "== $f =="; head -2 "$f"; done',
    "for i in 1 2 3; do python run.py --seed $i > out/$i.txt 2>&1; done",
    'for d in */; do (cd "$d" && ls | wc -l); done',
    'while IFS=, read -r a b; do echo "$a: ${b:-none}"; done < a.csv',
    "while IFS=$'\\t' read -r a b; do echo \"$b\"; done < a.tsv",
    'find . -name "*.csv" | while read -r f; do wc -l "$f"; done',
    "find . -name '*.py' -not -path './.venv/*' -print0 | xargs -0 grep -n 'eval('",
    "find . -type f -size +10M -exec ls -lh {} \\;",
    "ls -1 *.png | xargs -I{} cp {} figures/",
    "sed -n '1,80p' src/main.py",
    "nl -ba src/app.py | sed -n '10,40p'",
    "sed -i 's/[[:space:]]*$//' *.py",
    'rg -n "a|b" src | head',
    "rg --files -g '!*.ipynb' | sort | head -50",
    "git status --short && git diff",
    "git --no-pager log --oneline -5 && git show HEAD:README.md | head",
    "git add -A && git commit -m \"$(cat <<'EOF'\nAdd the plot (it's done)\n\nIt runs `make`.\nEOF\n)\"",
    "git checkout -b try; git stash; git commit -am 'Try: rm -r is gone'",
    "mkdir -p out/{a,b} && cp a out/",
    "wc -l *.csv | sort -n | tail -5",
    "[ -f x ] && cat x || echo 'no x' >&2",
    "test -d d || mkdir d",
    "if [[ -f a.csv ]]; then head a.csv; fi",
    'if [ "$(wc -l < a.csv)" -gt 3 ]; then echo long; elif [ -z "$n" ]; then echo none; fi',
    "x=$(date +%F); echo $x",
    'f="data/a b.csv"; head -5 "$f"; echo "${f##*/} ${f%.csv}.parquet ${#f}"',
    "echo $((1+2)) $(( 60 * 60 ))",
    "cd sub && make -j4 2>/dev/null",
    "source .venv/bin/activate && python report.py",
    "awk -F, 'NR>1 {s+=$3; n++} END {print s/n, $1}' data.csv",
    "sort -t$'\\t' -k2 a.tsv | cut -f1 | uniq -c | sort -rn > counts.txt",
    "diff <(sort a.txt) <(sort b.txt) | head",
    "jq -r '.cells[] | select(.cell_type==\"code\") | .source | join(\"\")' nb.ipynb",
    "jupyter nbconvert --to notebook --execute --inplace nb.ipynb",
    'set -euo pipefail\ncd src\ntimeout 60 python a.py; echo "exit: $?"',
    "command -v ffmpeg >/dev/null 2>&1 || echo missing; python --version; nproc; df -h .",
    "printf '%s\\t%d\\n' a 3 >> rows.tsv; rm -f tmp.txt; mv a b",
    "pip list 2>/dev/null | grep -i pandas; pip show numpy",
    "uv run pytest -q | tail -20; ruff check . --fix",
    "time python bench.py",
]  # fmt: skip


@pytest.mark.parametrize("command", ORDINARY)
def test_an_ordinary_command_meets_no_rule(command: str) -> None:
    assert judge(command, DEFAULTS) == Judgement(None, "")
