# Shared by the scripts: what they print, and how they install what is missing. Sourced, not run.

started=$SECONDS

# step TEXT: one line with the time since the start, so that a long run shows where it is.
step() {
    local elapsed=$((SECONDS - started))
    printf '[%3d:%02d] %s\n' $((elapsed / 60)) $((elapsed % 60)) "$*"
}

# fail TEXT: says why and ends; 2 is "unusable environment" everywhere in this project.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 2
}

# need_packages NAME...: installs the Debian packages that are missing, and says which.
need_packages() {
    local missing=() name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these packages are missing and there is no sudo: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    step "installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "apt-get could not install ${missing[*]}; the whole log is $log"
    fi
    rm -f "$log"
}

# need_cargo: a Rust toolchain of at least the version that Cargo.toml names.
need_cargo() {
    command -v cargo >/dev/null || fail "no cargo: install a Rust toolchain (https://rustup.rs), then run this again"
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
        fail "expected Rust $wanted or newer, found $found: rustup update stable"
}

# need_bare_target: the standard library for a machine without an operating system; what an auditor builds alone needs none.
bare_target=wasm32-unknown-unknown
need_bare_target() {
    [ -d "$(rustc --print target-libdir --target "$bare_target")" ] && return
    command -v rustup >/dev/null || fail "the Rust toolchain has no $bare_target and there is no rustup: install that target"
    step "installing the target $bare_target"
    rustup --quiet target add "$bare_target"
}

# What a node needs to be built and run on Debian 12, with an emulated TPM.
build_packages=(build-essential pkg-config libtss2-dev libtss2-tcti-swtpm0 libtss2-tcti-device0 ca-certificates)
node_packages=(swtpm openssl jq xxd)

# need_clients: the Python environment target/clients, made anew when the pinned list changed.
need_clients() {
    local list=swtpm-tests/clients/requirements.txt home=target/clients
    if [ -f "$home/installed" ] && cmp -s "$list" "$home/installed"; then return; fi
    need_packages python3 python3-venv
    step "installing the independent clients"
    rm -rf "$home"
    # Debian's own: the list pins what was built for it.
    /usr/bin/python3 -m venv "$home"
    "$home/bin/pip" --quiet --disable-pip-version-check install --require-hashes --no-deps --only-binary :all: -r "$list"
    cp "$list" "$home/installed"
}
