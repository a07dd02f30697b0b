#!/usr/bin/env bash
# Everything that needs an accelerator, in one call of at most ten minutes and without a network.
#
#   benchmarks/gpu.sh                                  writes benchmarks/results/gpu.json
#   benchmarks/gpu.sh --json FILE --part steps         options are those of benchmarks/gpu.py
#
# It runs on the Python that is there (PYTHON=..., default python3), which must have torch with CUDA
# and diffusers. Wheels of what is missing can lie in WHEELS (default .whl); they are unpacked into a
# folder of their own, nothing is installed:
#
#   python3 -m pip download --no-deps -d .whl diffusers==0.42.1 lycoris-lora==4.1.3 toml
#
# lycoris-lora, peft and bitsandbytes are left out where they are missing; the result says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-.whl}
LIMIT=${LIMIT:-585} # seconds; what the result holds by then stays
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
