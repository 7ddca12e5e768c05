#!/usr/bin/env bash
# Installs LXC AutoScale ML on a Proxmox VE node: three binaries, three units with their users, three configuration files.
# Existing configuration is kept. New binaries are tried before anything is stopped, and an upgrade that fails puts back
# what was there. A service that does not come up is a failed installation.
set -euo pipefail

readonly UNITS=(lxc_monitor lxc_autoscale_api lxc_autoscale_ml) # the order in which they start
readonly BINARIES=(lxc-monitor lxc-autoscale-api lxc-autoscale-ml)
readonly GROUP=lxc-autoscale

repository=${LXC_AUTOSCALE_REPO:-https://github.com/fabriziosalmi/proxmox-lxc-autoscale-ml}
reference=${LXC_AUTOSCALE_REF:-main}
root=${DESTDIR:-}
binaries=
start=yes
backend=
mode=
scratch=
before=        # the directory with what is being replaced, while that can still fail
replaced=()    # what is being replaced
declare -A ran # the units that ran before

usage() {
    cat <<'USAGE'
Usage: install.sh [--binaries DIR] [--backend pct|rest] [--mode recommend|approve|auto] [--no-start]

  --binaries DIR      install the release binaries that lie in DIR; without it they are built with cargo
  --backend pct|rest  run the API as root, for pct, or as a user of its own, for Proxmox's REST API; the token must
                      stand in /etc/lxc_autoscale_ml/proxmox_token by then. Without it an upgrade keeps what there
                      is, and a new installation takes pct. Given alone, it keeps the installed binaries
  --mode MODE         what a new installation does with what it decides: show it (recommend), ask first (approve), or
                      act (auto, the default). It is written into a new lxc_autoscale_ml.toml; one of yours is left
                      as it is
  --no-start          install and enable, but do not start
Environment:
  DESTDIR             install below this directory and leave systemd and users alone
  LXC_AUTOSCALE_REPO  where to clone from when the script does not lie in a checkout
  LXC_AUTOSCALE_REF   branch or tag to clone
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: error: %s\n' "$*" >&2
    exit 1
}
make_scratch() { [[ -n $scratch ]] || scratch=$(mktemp -d); }

# Puts back the files that an upgrade has replaced, and starts again what ran.
put_back() {
    local file unit
    printf 'install.sh: putting back what was installed before\n' >&2
    for file in "${replaced[@]}"; do
        if [[ -e $before/$file ]]; then
            # Not into the file that may be running.
            cp -p --remove-destination -- "$before/$file" "$file" || printf 'install.sh: %s is lost\n' "$file" >&2
        else
            rm -f -- "$file" || printf 'install.sh: %s stays\n' "$file" >&2
        fi
    done
    [[ -z $root ]] || return 0
    systemctl daemon-reload || true
    for unit in "${UNITS[@]}"; do
        [[ ${ran[$unit]:-} == yes ]] || continue
        if systemctl restart "$unit.service"; then
            printf 'install.sh: %s runs as before\n' "$unit" >&2
        else
            printf 'install.sh: %s does not start again, see: journalctl -u %s\n' "$unit" "$unit" >&2
        fi
    done
}

at_the_end() {
    local status=$?
    [[ -z $before ]] || put_back
    [[ -z $scratch ]] || rm -rf -- "$scratch"
    exit "$status"
}
trap at_the_end EXIT

while (($#)); do
    case $1 in
        --binaries) [[ $# -ge 2 ]] || fail "--binaries needs a directory"; binaries=$2; shift 2 ;;
        --backend) [[ ${2:-} == pct || ${2:-} == rest ]] || fail "--backend needs pct or rest"; backend=$2; shift 2 ;;
        --mode)
            [[ ${2:-} == recommend || ${2:-} == approve || ${2:-} == auto ]] || fail "--mode needs recommend, approve or auto"
            mode=$2
            shift 2
            ;;
        --no-start) start=no; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown option: $1" ;;
    esac
done

readonly etc=$root/etc/lxc_autoscale_ml state=$root/var/lib/lxc_autoscale_ml log=$root/var/log
readonly units=$root/etc/systemd/system bin=$root/usr/local/bin

[[ -n $root || $EUID -eq 0 ]] || fail "must be run as root"
if [[ -z $root ]]; then
    command -v systemctl >/dev/null || fail "systemd is needed (no systemctl found)"
    command -v pct >/dev/null || fail "this is no Proxmox VE node (no pct found)"
    getent group www-data >/dev/null || fail "there is no group www-data, which the configurations of Proxmox belong to"
fi
if [[ $backend == rest ]]; then
    [[ -s $etc/proxmox_token ]] ||
        fail "put the API token, one line user@realm!name=secret, into $etc/proxmox_token first: install -d -m 0755 $etc," \
            "and the rest as in docs/privileges.md"
fi

# The checkout: where this script lies, or a fresh clone when it comes through a pipe.
here=$(cd "$(dirname "${BASH_SOURCE[0]:-.}")" && pwd)
if [[ ! -f $here/Cargo.toml || ! -d $here/systemd ]]; then
    command -v git >/dev/null || fail "git is needed to fetch $repository: apt install git"
    make_scratch
    say "Fetching $repository ($reference)"
    git clone --quiet --depth 1 --branch "$reference" "$repository" "$scratch/source"
    here=$scratch/source
fi

# What a build takes is looked for first: cargo itself says little about a compiler that is too old or missing.
check_toolchain() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$here/Cargo.toml")
    local rustup="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && . ~/.cargo/env"
    # Where rustup puts it, which the path of this shell may not have yet.
    command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || fail "cargo (Rust $needed or newer) is needed to build: $rustup
    Or build on another machine, and give --binaries DIR"
    found=$(cd "$here" && cargo --version | cut -d ' ' -f 2) || fail "cargo does not run; install Rust anew: $rustup"
    printf '%s\n' "$needed" "$found" | sort -VC ||
        fail "cargo $found is too old, Rust $needed or newer is needed (Debian's own is older): $rustup"
    command -v cc >/dev/null || fail "a C compiler is needed to build (no cc found): apt install gcc libc6-dev"
    [[ $(cc -print-file-name=libc.a) == */* ]] ||
        fail "the C library to link with (libc.a) is needed to build the monitor: apt install libc6-dev"
}

is_installed() {
    local binary
    for binary in "${BINARIES[@]}"; do [[ -x $bin/$binary ]] || return 1; done
}

if [[ -z $binaries && -n $backend ]] && is_installed; then
    say "Keeping the installed binaries; run install.sh without --backend for newer ones"
    binaries=$bin
elif [[ -z $binaries ]]; then
    check_toolchain
    say "Building the release binaries"
    # The monitor is built in its own way (.cargo/config.toml).
    (cd "$here" && cargo build-monitor && cargo build --release --locked --package lxc-autoscale-api --package lxc-autoscale-ml)
    binaries=${CARGO_TARGET_DIR:-$here/target}/release
fi

# The mode that a configuration of the ml daemon has, as its own program reads it.
mode_of() {
    "$binaries/lxc-autoscale-ml" config --config "$1" | sed -n 's/^scaling\.mode *"\([a-z]*\)".*/\1/p'
}

# Whether the binaries are what they are called, run here, and accept the configuration that they are going to have. All of
# it before anything is stopped: until then nothing has happened.
for index in "${!BINARIES[@]}"; do
    binary=$binaries/${BINARIES[index]} file=${UNITS[index]}.toml
    [[ -x $binary ]] || fail "no binary $binary"
    said=$("$binary" --version 2>&1) || fail "$binary does not run here: $said"
    [[ $said == "${BINARIES[index]} "* ]] || fail "$binary is not ${BINARIES[index]}: its --version says '$said'"
    configuration=$etc/$file
    [[ -e $configuration ]] || configuration=$here/config/$file
    said=$("$binary" config --config "$configuration" 2>&1 >/dev/null) ||
        fail "$said
    Nothing was changed. Correct $configuration for the new ${BINARIES[index]} first"
done
ml=$etc/lxc_autoscale_ml.toml
if [[ -n $mode && -e $ml ]] && ! cmp -s "$here/config/lxc_autoscale_ml.toml" "$ml" && [[ $(mode_of "$ml") != "$mode" ]]; then
    fail "--mode is for a new installation, and your $ml is kept as it is: set scaling.mode = \"$mode\" there"
fi

# Moves a file to where its daemon may write, unless it is there already. Copies that only a running daemon needs go.
move() {
    local from=$1 to=$2
    [[ -e $from && ! -L $from ]] || return 0
    mkdir -p -- "$(dirname "$to")"
    if [[ -e $to ]]; then to=$to.before-upgrade; fi
    mv -- "$from" "$to"
}

# Before the daemons had users of their own, everything was root's and lay in /var/log and in one state directory.
adopt_files_of_root() {
    local file
    rm -f -- "$log"/.lxc_metrics.json.{lock,new,spare,spare-*}
    for file in "$log"/lxc_metrics.json{,.before-*} "$log"/lxc_monitor.log{,.[0-9]*}; do
        move "$file" "$log/lxc_autoscale_ml/monitor/${file##*/}"
    done
    for file in "$log"/lxc_autoscale_ml.log{,.[0-9]*}; do move "$file" "$log/lxc_autoscale_ml/ml/${file##*/}"; done
    for file in "$log"/lxc_autoscale_{api.log,audit.jsonl}{,.[0-9]*}; do
        move "$file" "$log/lxc_autoscale_ml/api/${file##*/}"
    done
    for file in "$state"/{alerts.json,anomaly.state,metrics.sqlite}*; do move "$file" "$state/monitor/${file##*/}"; done
    for file in "$state"/{decisions.sqlite,learnt.checkpoint}*; do move "$file" "$state/ml/${file##*/}"; done
    for file in "$state"/api.sqlite*; do move "$file" "$state/api/${file##*/}"; done
    rm -f -- "$state"/{lock,api.lock} "$log/lxc_autoscale_audit.jsonl.lock"
}

# A configuration that was kept still says where the files were: what stands there as it was shipped is brought up to date,
# and nothing else.
follow_files() {
    local unit=$1 expressions=() key
    case $unit in
        lxc_monitor) for key in alerts.json anomaly.state metrics.sqlite; do
            expressions+=(-e "s|= \"/var/lib/lxc_autoscale_ml/$key\"\$|= \"/var/lib/lxc_autoscale_ml/monitor/$key\"|")
        done ;;
        lxc_autoscale_api) expressions+=(-e 's|^\(directory = "/var/lib/lxc_autoscale_ml\)"$|\1/api"|') ;;
        lxc_autoscale_ml) expressions+=(-e 's|^\(directory = "/var/lib/lxc_autoscale_ml\)"$|\1/ml"|'
            -e 's|^\(history = "/var/lib/lxc_autoscale_ml/\)metrics.sqlite"$|\1monitor/metrics.sqlite"|') ;;
    esac
    sed "${expressions[@]}" "$etc/$unit.toml" >"$etc/$unit.toml.followed"
    if cmp -s "$etc/$unit.toml" "$etc/$unit.toml.followed"; then
        rm -f -- "$etc/$unit.toml.followed"
    else
        mv -- "$etc/$unit.toml.followed" "$etc/$unit.toml"
        say "  your $unit.toml names the new places of the files that were moved"
    fi
}

# What an upgrade replaces is kept until the new services run. A new installation has nothing to go back to.
addition_v1=$units/lxc_monitor.service.d/cgroup-v1.conf
addition_rest=$units/lxc_autoscale_api.service.d/rest.conf
if is_installed; then
    make_scratch
    replaced=("$addition_v1" "$addition_rest"
        "$root/etc/sysusers.d/lxc_autoscale_ml.conf" "$root/etc/tmpfiles.d/lxc_autoscale_ml.conf")
    for binary in "${BINARIES[@]}"; do replaced+=("$bin/$binary"); done
    for unit in "${UNITS[@]}"; do replaced+=("$units/$unit.service"); done
    for file in "${replaced[@]}"; do
        [[ -f $file ]] || continue
        mkdir -p -- "$(dirname "$scratch/before/$file")"
        cp -p -- "$file" "$scratch/before/$file"
    done
    before=$scratch/before
fi

# What runs keeps files open that are about to be moved.
if [[ -z $root ]]; then
    for unit in lxc_autoscale_ml lxc_autoscale_api lxc_monitor; do
        if [[ -e $units/$unit.service ]] && systemctl is-active --quiet "$unit.service"; then
            ran[$unit]=yes
            systemctl stop "$unit.service" || fail "$unit could not be stopped"
        fi
    done
fi

if [[ $binaries != "$bin" ]]; then
    say "Installing binaries to $bin"
    for binary in "${BINARIES[@]}"; do
        install -D -T -m 0755 "$binaries/$binary" "$bin/$binary"
    done
fi

say "Installing configuration to $etc"
for unit in "${UNITS[@]}"; do
    target=$etc/$unit.toml
    if [[ ! -e $target ]]; then
        install -D -m 0640 "$here/config/$unit.toml" "$target"
        is_new=yes
    else
        follow_files "$unit"
        if cmp -s "$here/config/$unit.toml" "$target"; then is_new=yes; else is_new=no; fi
    fi
    if [[ $unit == lxc_autoscale_ml && -n $mode && $mode != auto && $is_new == yes ]]; then
        sed -i "/^\[scaling\]/,/^\[/s/^mode = \"auto\"/mode = \"$mode\"/" "$target"
        rm -f -- "$target.new"
        continue
    fi
    if ! cmp -s "$here/config/$unit.toml" "$target"; then
        install -m 0640 "$here/config/$unit.toml" "$target.new"
        say "  kept your $unit.toml; the shipped one lies beside it as $unit.toml.new"
    else
        rm -f -- "$target.new" # from an earlier upgrade, and now the same as yours
    fi
done

say "Installing units to $units"
for unit in "${UNITS[@]}"; do
    install -D -T -m 0644 "$here/systemd/$unit.service" "$units/$unit.service"
done
# Control groups of version 1 take one more capability, and the REST back end takes root from the API.
if [[ -z $root && ! -f /sys/fs/cgroup/cgroup.controllers ]]; then
    install -D -m 0644 "$here/systemd/lxc_monitor.service.d/cgroup-v1.conf" "$addition_v1"
else
    rm -f -- "$addition_v1"
fi
if [[ $backend == rest || (-z $backend && -e $addition_rest) ]]; then
    install -D -m 0644 "$here/systemd/lxc_autoscale_api.service.d/rest.conf" "$addition_rest"
else
    rm -f -- "$addition_rest"
fi
install -D -m 0644 "$here/systemd/lxc_autoscale_ml.sysusers.conf" "$root/etc/sysusers.d/lxc_autoscale_ml.conf"
install -D -m 0644 "$here/systemd/lxc_autoscale_ml.tmpfiles.conf" "$root/etc/tmpfiles.d/lxc_autoscale_ml.conf"
install -d -m 0755 "$state"
adopt_files_of_root

# What the installation does from now on, and how to have it do less.
tell_mode() {
    local plan="what it would do: lxc-autoscale-ml plan"
    case $(mode_of "$ml") in
        off) say "Nothing is decided or resized: scaling.mode is \"off\" in $ml." ;;
        recommend) say "No container is resized: scaling.mode is \"recommend\" in $ml. To see $plan" ;;
        approve) say "A container is resized once you have accepted it (lxc-autoscale-ml proposals): scaling.mode is \"approve\" in $ml." ;;
        auto)
            say "Containers are resized without asking: scaling.mode is \"auto\" in $ml."
            say "To watch first, set mode = \"recommend\" below [scaling] there; it takes effect in the next cycle. To see $plan"
            ;;
    esac
}

# The ids in ignore_lxc of a configuration of the Python original, with commas between them.
ignored_in() {
    awk '
        function collect(line) {
            sub(/#.*/, "", line)
            while (match(line, /[0-9]+/)) {
                printf "%s%s", (count++ ? ", " : ""), substr(line, RSTART, RLENGTH)
                line = substr(line, RSTART + RLENGTH)
            }
        }
        /^ignore_lxc[ \t]*:/ { inside = 1; sub(/^[^:]*:/, ""); collect($0); next }
        /^[^ \t#\]-]/ { inside = 0 }
        inside { collect($0) }
    ' "$1"
}

# The Python original has its configuration in the same directory, in other files and with other names.
tell_of_the_original() {
    local old ids
    for old in "$etc"/*.yaml "$etc"/*.yml; do
        [[ -f $old ]] || continue
        say "Your old ${old##*/} is not read. Its settings have other names in the .toml files."
        grep -q '^ignore_lxc' "$old" || continue
        ids=$(ignored_in "$old")
        say "  ignore_lxc is now containers.ignore in $ml: ignore = [$ids]"
    done
}

if [[ -n $root ]]; then
    before=
    say "Installed below $root; systemd and users were left alone."
    tell_of_the_original
    tell_mode
    exit 0
fi

say "Making the users lxc-monitor, lxc-autoscale-ml and lxc-autoscale-api"
systemd-sysusers /etc/sysusers.d/lxc_autoscale_ml.conf
systemd-tmpfiles --create /etc/tmpfiles.d/lxc_autoscale_ml.conf
chown -R -h "lxc-monitor:$GROUP" "$state/monitor" "$log/lxc_autoscale_ml/monitor"
chown -R -h "lxc-autoscale-ml:$GROUP" "$state/ml" "$log/lxc_autoscale_ml/ml"
chgrp -R -h "$GROUP" "$state/notifications"
chown root:root "$etc"
chmod 0755 "$etc"
for unit in "${UNITS[@]}"; do
    chown "root:$GROUP" "$etc/$unit.toml"
    chmod 0640 "$etc/$unit.toml"
done
if [[ -e $etc/proxmox_token ]]; then
    chown root:root "$etc/proxmox_token"
    chmod 0600 "$etc/proxmox_token"
fi

systemctl daemon-reload
failed=()
broken=no
for unit in "${UNITS[@]}"; do
    # Restart, so that an upgrade runs the new binary; the call returns when the service says it is ready. One that does
    # not start is no reason to leave the node without the others.
    if ! systemctl enable --quiet "$unit.service"; then
        failed+=("$unit")
    elif [[ $start != yes ]]; then
        continue
    elif systemctl restart "$unit.service"; then
        say "  $unit is running"
        continue
    else
        journalctl --no-pager --unit "$unit.service" --lines 30 >&2 || true
        failed+=("$unit")
    fi
    [[ ${ran[$unit]:-} != yes ]] || broken=yes
done
if [[ $broken == yes ]]; then
    fail "these did not start any more: ${failed[*]}; their last log lines stand above"
fi
# From here on there is nothing to go back to: what did not start did not run before either.
before=
tell_of_the_original
tell_mode
if ((${#failed[@]})); then
    fail "these did not start: ${failed[*]}; their last log lines stand above"
fi
say "Done."
