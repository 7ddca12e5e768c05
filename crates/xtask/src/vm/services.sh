#!/bin/bash
# Runs inside the virtual machine: tests the three services as install.sh sets them up under systemd, each as its own
# user, on a node whose pct acts on real LXC containers.
# shellcheck disable=SC2317 # functions are called by name
set -euo pipefail

readonly UNITS=(lxc_monitor lxc_autoscale_api lxc_autoscale_ml)
readonly METRICS=/var/log/lxc_metrics.json SOCKET=/run/lxc_autoscale_ml/api.sock
readonly ETC=/etc/lxc_autoscale_ml STATE=/var/lib/lxc_autoscale_ml

fail() {
    echo "FAILED: $*"
    systemctl --no-pager --full status "${UNITS[@]/%/.service}" || true
    journalctl --no-pager --lines 40 || true
    exit 1
}
ok() { echo "ok: $*"; }
check() {
    local what=$1
    shift
    "$@" || fail "$what"
    ok "$what"
}

# Repeats a command until it succeeds. The emulated machine is slow, so the limit is generous; it measures nothing.
eventually() {
    local what=$1 tries=600
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [[ $tries -gt 0 ]] || fail "$what"
        sleep 0.2
    done
    ok "$what"
}

property() { systemctl show --value --property "$2" "$1.service"; }
has_property() { [[ $(property "$1" "$2") == "$3" ]]; }
is_up() { has_property "$1" ActiveState active && has_property "$1" SubState running; }
restarted_more_than() { [[ $(property "$1" NRestarts) -gt $2 ]] && is_up "$1"; }
says() { journalctl --unit "$1.service" | grep -q "$2"; }
status_has() { [[ $(property "$1" StatusText) == *"$2"* ]]; }
runs_as() { [[ $(ps -o user:32= -o group:32= -p "$(property "$1" MainPID)" | tr -s ' ') == "$2 $3" ]]; }
has_capabilities() { grep -q "^CapEff:[[:space:]]*$2\$" "/proc/$(property "$1" MainPID)/status"; }
is_plain_file_of_root() { [[ ! -L $1 && $(stat -c '%U:%G %a' "$1") == "root:root 640" ]]; }
owned() { [[ $(stat -c '%U:%G %a' "$1") == "$2" ]]; }

# Sends a request as a user and prints the HTTP status; the body of the answer is in /tmp/answer.
asked() {
    local user=$1 method=$2 path=$3 body=${4:-}
    local words=(curl -sS -o /tmp/answer -w '%{http_code}' -X "$method" --max-time 60 "${door[@]}$path")
    [[ -z $body ]] || words+=(-H 'Content-Type: application/json' -d "$body")
    rm -f /tmp/answer
    install -m 0666 /dev/null /tmp/answer
    runuser -u "$user" -- "${words[@]}"
}
answers() {
    local want=$1 got
    shift
    got=$(asked "$@") || true
    [[ $got == "$want" ]] || { echo "    $got instead of $want: $(cat /tmp/answer)"; return 1; }
}
cannot_read() { ! runuser -u "$1" -- cat "$2" >/dev/null 2>&1; }
# Memory in MiB, as Proxmox's configuration has it and as the kernel enforces it.
memory_of() { pct config "$1" | sed -n 's/^memory: //p'; }
limit_of() { echo $(($(cat /sys/fs/cgroup/lxc/"$1"/memory.max) >> 20)); }
has_more_memory_than() { [[ $(memory_of "$1") -gt $2 && $(limit_of "$1") == "$(memory_of "$1")" ]]; }
# Runs a process that needs more memory than the container and its swap have; succeeds if the kernel kills it.
run_out_of_memory() { ! lxc-attach -n "$1" -- /bin/dd if=/dev/zero of=/dev/null bs="$2M" count=1 >/dev/null 2>&1; }
records() { grep -c '^{' "$METRICS"; }
has_more_records_than() { [[ $(records) -gt $1 && $(tail -c 2 "$METRICS") == ']' ]]; }
begins_with() { [[ $(sed -n 2p "$METRICS" | head -c 200) == "$1" ]]; }
newest() { tail -n 2 "$METRICS" | head -n 1; }
newest_is_whole() {
    local record
    record=$(newest)
    [[ $record == *'"104":{'* && $record == *'"cpu_cores_used":'* && $record == *'"filesystem_usage_gb":'* &&
        $record == *'"configuration":{'*'"name":"hungry"'* && $record != *'"missing":{"'* ]]
}

echo "--- a node with pct, and what an installation that ran as root left behind"
lxc-autoscale-sim() { /payload/build/lxc-autoscale-sim --node / "$@"; }
lxc-autoscale-sim create-node --engine lxc --name truth --bin /usr/sbin
# Group and mode as in Proxmox's cluster file system.
chgrp -R www-data /etc/pve
chmod 0750 /etc/pve
pct create 104 local:none --hostname hungry --cores 1 --memory 256 --swap 64 --start 1 >/dev/null
pct create 105 local:none --hostname idle --cores 2 --memory 256 --swap 64 --start 1 >/dev/null
pct status 104 | grep -q running || fail "the container runs"

mkdir -p "$ETC" "$STATE"
cp /payload/project/config/*.toml "$ETC/"
# Paths as they were before the daemons had users of their own; short times, because nobody waits for hours here.
sed -i -e 's|"/var/lib/lxc_autoscale_ml/\(monitor\|ml\|api\)|"/var/lib/lxc_autoscale_ml|' \
    -e 's/^interval_seconds = 60/interval_seconds = 2/' "$ETC"/*.toml
sed -i -e 's|^url = .*|url = "http://127.0.0.1:5000"|' -e 's/^\(cooldown_up\|cooldown_down\)_seconds = .*/\1_seconds = 5/' \
    -e 's/^boot_seconds = .*/boot_seconds = 0/' "$ETC/lxc_autoscale_ml.toml"
/payload/build/lxc-monitor --config "$ETC/lxc_monitor.toml" run >/tmp/old.log 2>&1 &
old=$!
eventually "a monitor that runs as root has written" has_more_records_than 2
kill "$old"
wait "$old" || fail "a monitor that runs as root ends in order: $(cat /tmp/old.log)"
first=$(sed -n 2p "$METRICS" | head -c 200)
check "to a file that belongs to root" is_plain_file_of_root "$METRICS"

echo "--- install.sh"
/payload/project/install.sh --binaries /payload/build || fail "install.sh"
for unit in "${UNITS[@]}"; do check "$unit runs once the start has returned" is_up "$unit"; done
check "the monitor runs as a user of its own" runs_as lxc_monitor lxc-monitor lxc-autoscale
check "with one capability (CAP_SYS_PTRACE)" has_capabilities lxc_monitor 0000000000080000
check "the ml daemon runs as another" runs_as lxc_autoscale_ml lxc-autoscale-ml lxc-autoscale
check "without any capability" has_capabilities lxc_autoscale_ml 0000000000000000
check "the API runs as root, because pct needs it" runs_as lxc_autoscale_api root root
check "the metrics file is a link" test -L "$METRICS"
check "into the monitor's own directory" owned "$(readlink -f "$METRICS")" "lxc-monitor:lxc-autoscale 640"
check "the old records are in it" begins_with "$first"
eventually "and new ones" has_more_records_than 6
eventually "what is measured is whole: CPU, root filesystem, configuration, nothing missing" newest_is_whole
for place in monitor/metrics.sqlite ml/decisions.sqlite api/api.sqlite; do
    check "$place is there" test -s "$STATE/$place"
done
check "none of them where they were" test ! -e "$STATE/metrics.sqlite"
check "the configuration names their new places" grep -q '^file = "/var/lib/lxc_autoscale_ml/monitor/metrics.sqlite"' "$ETC/lxc_monitor.toml"
check "and the daemons may read it" owned "$ETC/lxc_autoscale_ml.toml" "root:lxc-autoscale 640"
check "lxc-monitor check finds nothing wrong" lxc-monitor check

echo "--- who may what"
check "the socket's directory is root's" owned /run/lxc_autoscale_ml "root:root 755"
for kind in socket tcp; do
    if [[ $kind == socket ]]; then door=(--unix-socket "$SOCKET" http://localhost); else door=(http://127.0.0.1:5000); fi
    check "$kind: root is answered" answers 200 root GET /routes
    check "$kind: the ml daemon's user looks" answers 200 lxc-autoscale-ml GET '/resource/vm/status?vm_id=105'
    check "$kind: and resizes" answers 200 lxc-autoscale-ml POST /scale/ram '{"vm_id": 105, "memory": 288}'
    check "$kind: but destroys nothing" answers 403 lxc-autoscale-ml DELETE /clone/delete '{"vm_id": 105}'
    check "$kind: the monitor's user is a stranger" answers 403 lxc-monitor GET /routes
    check "$kind: so is nobody" answers 403 nobody GET /routes
done
check "pct has done it" grep -qx 'memory: 288' /etc/pve/lxc/105.conf

echo "--- a change goes through"
had=$(memory_of 104)
check "a process of the container is killed for lack of memory" run_out_of_memory 104 800
eventually "the ml daemon gives the container more, and the kernel lets it" has_more_memory_than 104 "$had"
echo "    $had -> $(memory_of 104) MiB"
check "the audit log names the user" grep -q "\"caller\":\"uid:$(id -u lxc-autoscale-ml)\"" /var/log/lxc_autoscale_audit.jsonl
check "and verifies" lxc-autoscale-api audit verify
lxc-autoscale-ml why 104 || fail "root asks why"
sed -i 's|^url = .*|url = "unix:/run/lxc_autoscale_ml/api.sock"|' "$ETC/lxc_autoscale_ml.toml"
systemctl restart lxc_autoscale_ml.service
had=$(memory_of 104)
check "it is killed once more" run_out_of_memory 104 1200
eventually "and is given more through the API's socket" has_more_memory_than 104 "$had"
echo "    $had -> $(memory_of 104) MiB"

echo "--- reload, restart, status"
for unit in "${UNITS[@]}"; do
    systemctl reload "$unit.service" || fail "$unit is reloaded"
    eventually "$unit survives a reload" is_up "$unit"
    systemctl restart "$unit.service" || fail "$unit is restarted"
    check "$unit runs after a restart" is_up "$unit"
    systemctl status "$unit.service" >/dev/null || fail "systemctl status $unit"
done
eventually "the monitor's status text tells of the last cycle" status_has lxc_monitor container
eventually "the ml daemon's, too" status_has lxc_autoscale_ml container
for unit in "${UNITS[@]}"; do echo "    $unit: $(property "$unit" StatusText)"; done
door=(--unix-socket "$SOCKET" http://localhost)
check "the socket is there again" answers 200 lxc-autoscale-ml GET /health/check

echo "--- kill -9"
before=$(records)
for unit in "${UNITS[@]}"; do
    restarts=$(property "$unit" NRestarts)
    systemctl kill --kill-whom=main --signal=KILL "$unit.service"
    eventually "$unit is started again after kill -9" restarted_more_than "$unit" "$restarts"
done
eventually "the monitor goes on with the file it had" has_more_records_than "$before"
check "the first record is still the first" begins_with "$first"
eventually "the API answers through its socket" answers 200 lxc-autoscale-ml GET /health/check

echo "--- kill -9 while pct is at work, and a stop that has to wait for it"
cat >/usr/local/sbin/slow-pct <<'PCT'
#!/bin/sh
# A pct that waits before it changes container 105, and keeps printing meanwhile.
if [ "$1 $2" = "set 105" ]; then
    touch /run/slow-pct.begun
    until [ -e /run/slow-pct.release ]; do
        echo "still at it"
        sleep 1
    done
fi
exec /usr/sbin/pct "$@"
PCT
chmod 0755 /usr/local/sbin/slow-pct
sed -i 's|^path = "/usr/sbin/pct"|path = "/usr/local/sbin/slow-pct"|' "$ETC/lxc_autoscale_api.toml"
mkdir -p /run/systemd/system/lxc_autoscale_api.service.d
printf '[Service]\nTimeoutStopSec=10\n' >/run/systemd/system/lxc_autoscale_api.service.d/stop.conf
systemctl daemon-reload
systemctl restart lxc_autoscale_api.service || fail "the API is restarted"
is_at_work() { pgrep -f 'slow-pct set 105' >/dev/null; }
asked root POST /scale/ram '{"vm_id": 105, "memory": 296}' >/dev/null 2>&1 &
client=$!
eventually "pct is at work" test -e /run/slow-pct.begun
restarts=$(property lxc_autoscale_api NRestarts)
systemctl kill --kill-whom=main --signal=KILL lxc_autoscale_api.service
wait "$client" || true
eventually "the API is started again" restarted_more_than lxc_autoscale_api "$restarts"
check "pct goes on" is_at_work
check "and is not hurried" grep -qx 'memory: 288' /etc/pve/lxc/105.conf
touch /run/slow-pct.release
eventually "it ends by itself" grep -qx 'memory: 296' /etc/pve/lxc/105.conf
eventually "and what it was part of is settled" says lxc_autoscale_api "settled.*container 105"
check "the audit log verifies" lxc-autoscale-api audit verify
rm -f /run/slow-pct.begun /run/slow-pct.release
asked root POST /scale/ram '{"vm_id": 105, "memory": 304}' >/tmp/status 2>&1 &
client=$!
eventually "pct is at work once more" test -e /run/slow-pct.begun
(sleep 25 && touch /run/slow-pct.release) &
systemctl stop lxc_autoscale_api.service || fail "the API is stopped"
check "a stop waits for it, longer than for a server that hangs" has_property lxc_autoscale_api Result success
wait "$client" || fail "its client is answered"
check "its client is answered" grep -qx 200 /tmp/status
check "and it is done" grep -qx 'memory: 304' /etc/pve/lxc/105.conf
rm -r /run/systemd/system/lxc_autoscale_api.service.d /run/slow-pct.*
systemctl daemon-reload
sed -i 's|^path = "/usr/local/sbin/slow-pct"|path = "/usr/sbin/pct"|' "$ETC/lxc_autoscale_api.toml"
systemctl start lxc_autoscale_api.service || fail "the API starts again"
rm /usr/local/sbin/slow-pct

echo "--- a metrics file that belongs to somebody else steers nothing"
systemctl stop lxc_monitor.service
chown nobody "$(readlink -f "$METRICS")"
eventually "the ml daemon says so" says lxc_autoscale_ml "is not trusted and steers nothing.*belongs to user 65534"
check "the API shrinks nothing on its word" answers 409 root POST /scale/ram '{"vm_id": 105, "memory": 64}'
check "and says why" grep -q 'belongs to user 65534' /tmp/answer
systemctl start lxc_monitor.service || fail "the monitor measures all the same"
eventually "the monitor does not write to it, and says so" says lxc_monitor "is in no safe place.*belongs to user 65534"
check "the file is as it was" owned "$(readlink -f "$METRICS")" "nobody:lxc-autoscale 640"
before=$(records)
systemctl stop lxc_monitor.service
chown lxc-monitor "$(readlink -f "$METRICS")"
systemctl start lxc_monitor.service || fail "the monitor starts again"
eventually "it goes on with its own" has_more_records_than "$before"

echo "--- watchdog"
# The watchdog ends a daemon that hangs; the two minutes of the shipped units are too long to wait for here.
for unit in "${UNITS[@]}"; do
    check "$unit has a watchdog" test "$(property "$unit" WatchdogUSec)" != 0
    mkdir -p "/run/systemd/system/$unit.service.d"
    printf '[Service]\nWatchdogSec=10\nTimeoutAbortSec=5\n' >"/run/systemd/system/$unit.service.d/watchdog.conf"
done
systemctl daemon-reload
for unit in "${UNITS[@]}"; do
    systemctl restart "$unit.service" || fail "$unit is restarted"
    restarts=$(property "$unit" NRestarts)
    systemctl kill --kill-whom=main --signal=STOP "$unit.service"
    eventually "$unit is ended when it hangs, and started again" restarted_more_than "$unit" "$restarts"
done
rm -r /run/systemd/system/lxc_*.service.d
systemctl daemon-reload

echo "--- the REST back end"
lxc-autoscale-sim serve-rest >/tmp/rest.log 2>&1 &
rest=$!
eventually "the REST API of the node is there" curl -sk https://127.0.0.1:8006/
pveum user add autoscale@pve
secret=$(pveum user token add autoscale@pve scaler --privsep 0 | sed -n 's/.*"value":"\([^"]*\)".*/\1/p')
pveum role add Scale --privs "VM.Audit VM.Config.CPU VM.Config.Memory VM.Config.Options VM.PowerMgmt Sys.Audit"
pveum acl modify / --users autoscale@pve --roles Scale
(umask 077 && echo "autoscale@pve!scaler=$secret" >"$ETC/proxmox_token")
# Group and mode of the cluster's certificates and keys as on a Proxmox node.
find /etc/pve -name '*.pem' -exec chgrp www-data {} + -exec chmod 0640 {} +
/payload/project/install.sh --binaries /payload/build --backend rest || fail "install.sh --backend rest"
check "the API runs as a user of its own" runs_as lxc_autoscale_api lxc-autoscale-api lxc-autoscale
check "without any capability" has_capabilities lxc_autoscale_api 0000000000000000
check "which cannot read the token's file" cannot_read lxc-autoscale-api "$ETC/proxmox_token"
eventually "it answers" answers 200 root GET /routes
check "and resizes through Proxmox's REST API" answers 200 lxc-autoscale-ml POST /scale/ram '{"vm_id": 105, "memory": 320}'
check "which has done it" grep -qx 'memory: 320' /etc/pve/lxc/105.conf
check "the audit log goes on" lxc-autoscale-api audit verify
/payload/project/install.sh --binaries /payload/build --backend pct || fail "install.sh --backend pct"
check "and back: the API runs as root" runs_as lxc_autoscale_api root root
check "which resizes" answers 200 lxc-autoscale-ml POST /scale/ram '{"vm_id": 105, "memory": 336}'
kill "$rest"

echo "--- uninstall.sh"
systemctl stop lxc_autoscale_ml.service lxc_autoscale_api.service lxc_monitor.service
for unit in "${UNITS[@]}"; do check "$unit ends in order" has_property "$unit" Result success; done
kept=$(records)
/payload/project/uninstall.sh --yes || fail "uninstall.sh"
check "the metrics file is root's again" is_plain_file_of_root "$METRICS"
check "with every record" test "$(records)" == "$kept"
check "the users are gone" test -z "$(getent passwd lxc-monitor lxc-autoscale-ml lxc-autoscale-api || true)"
check "nothing belongs to nobody" test -z "$(find /var /etc /run -xdev \( -nouser -o -nogroup \) 2>/dev/null)"
/payload/project/install.sh --binaries /payload/build || fail "install.sh once more"
check "a new installation goes on with what was kept" begins_with "$first"
/payload/project/uninstall.sh --purge --yes || fail "uninstall.sh --purge"
check "--purge leaves nothing" test -z "$(find / -xdev \( -name 'lxc_autoscale*' -o -name 'lxc_m[eo]*' \) -not -path '/payload/*' 2>/dev/null)"
pct stop 104
pct stop 105
echo "--- all of it holds"
