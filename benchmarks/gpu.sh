#!/usr/bin/env bash
# Run all benchmarks that need a GPU, in at most ten minutes and without network access.
#
#   benchmarks/gpu.sh                                  writes benchmarks/results/gpu.json
#   benchmarks/gpu.sh --json FILE --part steps         options are those of benchmarks/gpu.py
#
# It uses the Python named by PYTHON (default: python3), which must have torch with CUDA and
# diffusers. Put wheels of missing packages into the folder WHEELS (default: .whl); they are unpacked
# into a temporary folder and not installed:
#
#   python3 -m pip download --no-deps -d .whl diffusers==0.42.1 lycoris-lora==4.1.3 toml
#
# If lycoris-lora, peft or bitsandbytes is missing, its figures are left out and the result says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-.whl}
LIMIT=${LIMIT:-585} # seconds; figures measured until then are kept
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

if compgen -G "$WHEELS/*.whl" >/dev/null; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH=$PYTHONPATH:$site
fi
for package in torch diffusers tqdm; do
    "$PYTHON" -c "import $package" || {
        echo "gpu.sh: $PYTHON has no $package; put its wheel into $WHEELS (see the top of this file)" >&2
        exit 1
    }
done

case " $* " in
*" --json "*) ;;
*) set -- --json benchmarks/results/gpu.json "$@" ;;
esac
code=0
timeout --signal=KILL "$LIMIT" "$PYTHON" benchmarks/gpu.py --seconds "$((LIMIT - 45))" "$@" || code=$?
if [ "$code" = 137 ]; then
    echo "gpu.sh: stopped after $LIMIT s; the result holds what was measured until then" >&2
fi
exit "$code"
