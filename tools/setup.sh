#!/usr/bin/env bash
# Gets what a fresh machine lacks: tools/setup.sh [rust] [qemu|qemu?] [gdb] [sdcard|sdcard?] [trace-cmd?]
# (default: rust qemu)
#
#   rust    the toolchain of rust-toolchain.toml with its target, a linker for host programs, and all crates
#   qemu    qemu-system-aarch64 of version 9 or newer; `qemu?` goes on without it, after saying so
#   gdb     gdb-multiarch
#   sdcard  mtools and dosfstools; `sdcard?` goes on without them, after saying so
#   trace-cmd?  trace-cmd, by which the tests read our trace.dat; goes on without it, after saying so
#
# What is there already is not touched: then this prints nothing, needs no network and takes a moment.
# Packages are installed by apt, as root or through sudo. Where something cannot be had, the last lines say
# what, and how to get it by hand; the exit status is 1.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly QEMU_OLDEST=9
readonly QEMU_PROGRAM=${QEMU:-qemu-system-aarch64}

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "cannot go on: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# --- Debian packages ---------------------------------------------------------------------------------------

# Runs a command as root, or explains that nobody can.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "installing a package needs root, and there is no sudo" "run this as root: $*"
    fi
}

updated=no
apt_update() {
    [ "$updated" = no ] || return 0
    say "reading the package lists"
    # A broken third-party source must not stop us; if ours is missing, the install below says so.
    as_root apt-get update -qq || say "some package lists could not be read; going on with what is there"
    updated=yes
}

apt_install() {
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Prints the version that apt would install, or nothing. $1 package, $2 release to prefer (optional).
candidate() {
    local version
    version=$(LC_ALL=C apt-cache ${2:+-t "$2"} policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p')
    if [ "$version" != "(none)" ]; then printf '%s' "$version"; fi
}

# First number of a Debian version, without its epoch: 1:10.0.2+ds-2 gives 10.
major() {
    local version=${1#*:}
    version=${version%%.*}
    case $version in '' | *[!0-9]*) printf 0 ;; *) printf '%s' "$version" ;; esac
}

codename() { (. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_CODENAME:-}") || true; }

# The mirror that this machine already uses for Debian, so that a local one stays local.
mirror() {
    local found
    found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ') || true
    [ -n "$found" ] || die "no Debian mirror is configured on this machine" "add one to /etc/apt/sources.list and try again"
    printf '%s' "$found"
}

# --- QEMU --------------------------------------------------------------------------------------------------

qemu_major() {
    local version
    version=$("$QEMU_PROGRAM" --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p') || true
    printf '%s' "${version:-0}"
}

setup_qemu() {
    [ "$(qemu_major)" -lt "$QEMU_OLDEST" ] || return 0
    local by_hand="install qemu-system-aarch64 of version $QEMU_OLDEST or newer by hand, or name one: QEMU=/path/to/it make …"
    if ! have apt-get; then
        die "QEMU $QEMU_OLDEST or newer is needed, and this system has no apt-get" "$by_hand" \
            "for example: dnf install qemu-system-aarch64, pacman -S qemu-system-aarch64, brew install qemu"
    fi
    local release="" package=qemu-system-arm
    if [ "$(major "$(candidate $package)")" -lt "$QEMU_OLDEST" ]; then
        apt_update
    fi
    if [ "$(major "$(candidate $package)")" -lt "$QEMU_OLDEST" ] && [ "$(codename)" = bookworm ]; then
        # Debian 12 itself has QEMU 7; its backports have a newer one.
        release=bookworm-backports
        if [ "$(major "$(candidate $package $release)")" -lt "$QEMU_OLDEST" ]; then
            say "adding $release to the package sources: /etc/apt/sources.list.d/stint-backports.list"
            local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option="" from
            from=$(mirror) || exit 1
            [ ! -e $keyring ] || option="[signed-by=$keyring] "
            echo "deb $option$from $release main" |
                as_root tee /etc/apt/sources.list.d/stint-backports.list >/dev/null
            updated=no
            apt_update
        fi
    fi
    local version
    version=$(candidate $package $release)
    if [ "$(major "$version")" -lt "$QEMU_OLDEST" ]; then
        die "QEMU $QEMU_OLDEST or newer is needed; the package sources offer ${version:-none}" "$by_hand"
    fi
    apt_install ${release:+-t "$release"} $package ||
        die "apt could not install $package $version; its message is above" "$by_hand"
    if [ "$(qemu_major)" -lt "$QEMU_OLDEST" ]; then
        die "$QEMU_PROGRAM is still missing or older than $QEMU_OLDEST" \
            "$(command -v "$QEMU_PROGRAM" || echo "it is not in PATH=$PATH")" "$by_hand"
    fi
}

# --- Rust --------------------------------------------------------------------------------------------------

# Prints what rust-toolchain.toml says for a key, as words.
toml_list() { sed -n "s/^$1 *= *//p" rust-toolchain.toml | tr -d '[]"' | tr ',' ' '; }

# Whether the toolchain in use is the pinned one, with everything that is needed of it; if not, `lacks` says why.
lacks=
rust_is_complete() {
    local found sysroot target tool
    # Without this rustup would begin to download in the middle of a question.
    export RUSTUP_AUTO_INSTALL=0
    found=$(rustc --version 2>&1) || true
    case $found in
    "rustc $(toml_list channel) "*) ;;
    *)
        lacks="rustc in $PWD is: ${found%%$'\n'*}; rust-toolchain.toml asks for $(toml_list channel)"
        return 1
        ;;
    esac
    sysroot=$(rustc --print sysroot)
    for target in $(toml_list targets); do
        lacks="the target $target is not in $sysroot"
        [ -d "$sysroot/lib/rustlib/$target/lib" ] || return 1
    done
    for tool in cargo cargo-fmt cargo-clippy; do
        lacks="$tool is not in $sysroot/bin"
        [ -x "$sysroot/bin/$tool" ] || return 1
    done
}

setup_rust() {
    export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    if ! have cc; then
        have apt-get || die "a C compiler is needed as the linker of host programs" "install gcc or clang"
        [ -n "$(candidate gcc)" ] || apt_update
        apt_install gcc libc6-dev || die "apt could not install gcc; its message is above" "install a C compiler"
    fi
    if ! rust_is_complete; then
        get_rust
    fi
    fetch_crates
}

get_rust() {
    local channel components targets
    channel=$(toml_list channel) components=$(toml_list components) targets=$(toml_list targets)
    if ! have rustup; then
        if have apt-get; then
            [ -n "$(candidate rustup)" ] || apt_update
            [ -z "$(candidate rustup)" ] || apt_install rustup ca-certificates || true
        fi
        have rustup || die "Rust $channel is needed, and there is no rustup to get it with" \
            "this system's packages have none; get it from https://rustup.rs, then start again"
    fi
    local arguments=() word
    for word in $targets; do arguments+=(--target "$word"); done
    say "installing Rust $channel for $targets"
    # Without llvm-tools nothing is lost but disassembling by hand, so a mirror that lacks it is no obstacle.
    local required=()
    for word in $components; do [ "$word" = llvm-tools ] || required+=(--component "$word"); done
    # rustup itself stays as it is: other work on this machine may depend on its version.
    rustup toolchain install "$channel" --no-self-update --profile minimal "${required[@]}" "${arguments[@]}" >&2 ||
        die "rustup could not install Rust $channel; its message is above" \
            "by hand: rustup toolchain install $channel --profile minimal ${required[*]} ${arguments[*]}"
    case " $components " in
    *" llvm-tools "*)
        rustup component add --toolchain "$channel" llvm-tools >&2 || say "without llvm-tools, which is optional"
        ;;
    esac
    rust_is_complete ||
        die "rustup has installed Rust $channel, but $lacks" \
            "is the rustc in use rustup's? It is $(command -v rustc || echo 'not in PATH')" \
            "is RUSTUP_TOOLCHAIN set to something else? (${RUSTUP_TOOLCHAIN:-no})" \
            "is the toolchain damaged? rustup toolchain uninstall $channel, then start again"
}

# Downloads every crate once, of tests and tools as well, so that all commands work offline afterwards.
fetch_crates() {
    local dir stamp wanted
    dir=${CARGO_TARGET_DIR:-target}
    stamp=$dir/.crates-fetched
    wanted=$(cksum <Cargo.lock 2>/dev/null) || wanted="no lock file"
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    # All there already (another checkout, a filled cache): no need to say anything.
    if ! cargo fetch --locked --offline >/dev/null 2>&1; then
        say "downloading crates"
        cargo fetch --locked --quiet >&2 ||
            die "the crates in Cargo.lock could not be downloaded; Cargo's message is above" \
                "this needs the network once; with a mirror, name it in ~/.cargo/config.toml"
    fi
    mkdir -p "$dir"
    printf '%s' "$wanted" >"$stamp"
}

# --- gdb ---------------------------------------------------------------------------------------------------

setup_gdb() {
    ! have "${GDB:-gdb-multiarch}" || return 0
    local by_hand="install a gdb that knows AArch64 by hand, or name one: GDB=gdb make debug"
    have apt-get || die "gdb-multiarch is needed, and this system has no apt-get" "$by_hand"
    [ -n "$(candidate gdb-multiarch)" ] || apt_update
    apt_install gdb-multiarch || die "apt could not install gdb-multiarch; its message is above" "$by_hand"
}

# --- SD cards ----------------------------------------------------------------------------------------------

setup_sdcard() {
    # Programs for file systems are often not in a user's path.
    local PATH="$PATH:/usr/sbin:/sbin:/usr/local/sbin:/opt/homebrew/sbin"
    local wanted=()
    have mformat || wanted+=(mtools)
    have fsck.vfat || wanted+=(dosfstools)
    [ ${#wanted[@]} -gt 0 ] || return 0
    local by_hand="install ${wanted[*]} by hand, for example: brew install ${wanted[*]}"
    have apt-get || die "${wanted[*]} is needed to make an SD card, and this system has no apt-get" "$by_hand"
    [ -n "$(candidate "${wanted[0]}")" ] || apt_update
    apt_install "${wanted[@]}" || die "apt could not install ${wanted[*]}; its message is above" "$by_hand"
}

# --- Traces ------------------------------------------------------------------------------------------------

setup_trace_cmd() {
    ! have trace-cmd || return 0
    local by_hand="install trace-cmd by hand; it is a program of Linux"
    have apt-get || die "trace-cmd is missing, and this system has no apt-get" "$by_hand"
    [ -n "$(candidate trace-cmd)" ] || apt_update
    [ -n "$(candidate trace-cmd)" ] || die "the package sources have no trace-cmd" "$by_hand"
    apt_install trace-cmd || die "apt could not install trace-cmd; its message is above" "$by_hand"
}

# -----------------------------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- rust qemu
for part in "$@"; do
    case $part in
    rust) setup_rust ;;
    qemu) setup_qemu ;;
    # In a subshell, so that dying there is not dying here.
    'qemu?') (setup_qemu) || say "going on without QEMU: whatever needs it is skipped" ;;
    gdb) setup_gdb ;;
    sdcard) setup_sdcard ;;
    'sdcard?') (setup_sdcard) || say "going on without it: the tests of SD cards are skipped" ;;
    'trace-cmd?') (setup_trace_cmd) || say "going on without it: the tests that read trace.dat with it are skipped" ;;
    *) die "\`$part\` is none of: rust qemu qemu? gdb sdcard sdcard? trace-cmd?" ;;
    esac
done
