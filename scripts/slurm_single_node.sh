#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, for tests: slurm_single_node.sh start|stop|env
#
# Needs Debian's slurm-wlm and munge, and root. Everything lies in $MAM_SLURM (default /tmp/mam-slurm): configuration,
# state, logs. No accounting, no cgroups. `eval "$(slurm_single_node.sh env)"` lets this shell talk to it.
set -euo pipefail
home=${MAM_SLURM:-/tmp/mam-slurm}
export SLURM_CONF=$home/slurm.conf

write_configuration() {
  mkdir -p "$home"/{state,spool,log}
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
  cat > "$SLURM_CONF" <<CONF
ClusterName=mam
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldParameters=idle_on_node_suspend
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=5
MinJobAge=60
JobRequeue=1
MpiDefault=none
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/slurmd.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.log
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=$(hostname -s) Default=YES MaxTime=INFINITE State=UP
CONF
}

start_munge() {
  munge -n > /dev/null 2>&1 && return
  if [ ! -s /etc/munge/munge.key ]; then
    dd if=/dev/urandom bs=1024 count=1 of=/etc/munge/munge.key status=none
  fi
  chown munge: /etc/munge/munge.key
  chmod 400 /etc/munge/munge.key
  mkdir -p /run/munge /var/log/munge /var/lib/munge
  chown munge: /run/munge /var/log/munge /var/lib/munge
  setpriv --reuid=munge --regid=munge --clear-groups /usr/sbin/munged
}

case "${1:-}" in
  start)
    for program in slurmctld slurmd munged; do
      command -v "$program" > /dev/null || { echo "no $program here: apt-get install slurm-wlm munge" >&2; exit 1; }
    done
    write_configuration
    start_munge
    slurmctld
    slurmd
    for _ in $(seq 60); do
      sinfo --noheader --format=%t 2> /dev/null | grep -q idle && exit 0
      sleep 0.5
    done
    echo "Slurm did not come up; see $home/log" >&2
    exit 1
    ;;
  stop)
    for daemon in slurmd slurmctld; do
      [ -f "$home/$daemon.pid" ] && kill "$(cat "$home/$daemon.pid")" 2> /dev/null || true
    done
    sleep 1
    rm -rf "$home"
    ;;
  env)
    echo "export SLURM_CONF=$SLURM_CONF"
    ;;
  *)
    echo "usage: $0 start|stop|env" >&2
    exit 2
    ;;
esac
