#!/usr/bin/env bash
# A Slurm cluster of several nodes on this machine, for tests:
#
#   slurm_nodes.sh start | stop | env      make it, remove it with all that runs on it, how a shell talks to it (eval)
#   slurm_nodes.sh kill N | up N [dirty]   node N dies at once, comes back: as after a boot, or dirty: its prolog fails
#   slurm_nodes.sh run COMMAND...          start, run the command on it, and stop however the command ended
#
# Needs root and Debian's slurm-wlm and munge, whose slurmd may run several times on a host. Everything lies in
# $MAM_SLURM (default /tmp/mam-slurm): configuration, key, state, logs. $MAM_SLURM_NODES is the number of nodes (3).
# No accounting, no cgroups; the nodes' memory is only counted. A node that is silent for some 20 s is down; a job that
# is requeued then waits for another 10 s (cred_expire; Slurm's default is 120).
set -euo pipefail
home=${MAM_SLURM:-/tmp/mam-slurm}
count=${MAM_SLURM_NODES:-3}
port=16817 # of slurmctld; those of the nodes follow
export SLURM_CONF=$home/slurm.conf

usage() {
  sed -n '4,6s/^# *//p' "$0" >&2
  exit 2
}

fail() {
  echo "$1" >&2
  tail -n 5 "$home"/log/*.log >&2 2> /dev/null || true
  stop
  exit 1
}

refuse_what_is_missing() {
  [ "$(id -u)" = 0 ] || { echo "Slurm's daemons need root" >&2; exit 1; }
  local program
  for program in slurmctld slurmd munged; do
    command -v "$program" > /dev/null || { echo "no $program here: apt-get install slurm-wlm munge" >&2; exit 1; }
  done
}

write_configuration() {
  mkdir -p "$home"/{state,log,spool,munge}
  chmod 755 "$home"
  chmod 700 "$home/munge"
  local node
  {
    cat << CONF
ClusterName=mam
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$home/munge/socket,cred_expire=10
SlurmctldPort=$port
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
Prolog=$home/prolog
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=7
SchedulerParameters=bf_interval=2,sched_interval=2
KillWait=2
MinJobAge=60
JobRequeue=1
MpiDefault=none
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool/%n
SlurmctldPidFile=$home/slurmctld.pid
SlurmdPidFile=$home/%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/%n.log
CONF
    for node in $(seq "$count"); do
      echo "NodeName=n$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + node)) CPUs=1 RealMemory=8000"
    done
    echo "PartitionName=main Nodes=n[1-$count] Default=YES MaxTime=INFINITE State=UP"
  } > "$SLURM_CONF"
  printf '#!/bin/sh\n[ ! -e "%s/spool/$SLURMD_NODENAME.dirty" ]\n' "$home" > "$home/prolog"
  chmod 755 "$home/prolog"
}

start_munge() {
  dd if=/dev/urandom of="$home/munge/key" bs=1024 count=1 status=none
  chmod 400 "$home/munge/key"
  munged --force --key-file="$home/munge/key" --socket="$home/munge/socket" --pid-file="$home/munge/pid" \
    --log-file="$home/munge/log" --seed-file="$home/munge/seed"
}

up() {
  rm -rf "$home/spool/n$1" "$home/spool/n$1.dirty"
  mkdir -p "$home/spool/n$1"
  [ "${2:-}" != dirty ] || touch "$home/spool/n$1.dirty"
  slurmd -N "n$1"
}

with() { # the processes, of those given on standard input, that have a word in their environment
  sed 's|$|/environ|' | xargs -r grep -lzx "$1" 2> /dev/null | sed 's|/environ$||'
}

# The processes of a node or of slurmctld: daemons have its log open, jobs have its name in their environment. Those of
# `run` are what the command started.
processes_of() {
  {
    if [ "$1" = run ]; then
      ls -d /proc/[0-9]* | with "MAM_SLURM_RUN=$home"
    else
      find /proc/[0-9]*/fd -lname "$home/log/$1.log*" 2> /dev/null | sed 's|/fd/.*||'
      ls -d /proc/[0-9]* | with "SLURM_CONF=$SLURM_CONF" | with "SLURMD_NODENAME=$1"
    fi
  } | sed 's|/proc/||' | sort -u
}

kill_all_of() {
  local found
  for _ in $(seq 50); do # again, since a daemon may have started a process in the meantime
    found=$(processes_of "$1" || true)
    [ -z "$found" ] && return
    # shellcheck disable=SC2086
    kill -KILL $found 2> /dev/null || true
    sleep 0.1
  done
  echo "processes of $1 do not end: $found" >&2
  return 1
}

start() {
  refuse_what_is_missing
  [ ! -e "$home" ] || stop
  write_configuration
  start_munge || fail "munged did not start"
  slurmctld || fail "slurmctld did not start"
  local node
  for node in $(seq "$count"); do
    up "$node" || fail "slurmd of n$node did not start"
  done
  for _ in $(seq 120); do
    [ "$(sinfo --noheader --Node --format=%t 2> /dev/null | grep -cx idle)" = "$count" ] && return
    sleep 0.5
  done
  fail "Slurm did not come up within a minute"
}

stop() {
  local spool
  kill_all_of run || true
  kill_all_of slurmctld || true
  for spool in "$home"/spool/*/; do
    spool=${spool%/}
    kill_all_of "${spool##*/}" || true
  done
  if [ -f "$home/munge/pid" ]; then
    kill "$(cat "$home/munge/pid")" 2> /dev/null || true
  fi
  rm -rf "$home"
}

run() {
  local command
  trap stop EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  start
  MAM_SLURM_RUN=$home "$@" < /dev/null & # in the background, so that a signal is not left until it has ended
  command=$!
  wait "$command"
}

case "${1:-}" in
  start | stop) "$1" ;;
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  kill) [ -n "${2:-}" ] || usage; kill_all_of "n$2" ;;
  up) [ -n "${2:-}" ] || usage; up "$2" "${3:-}" ;;
  run) shift; [ $# -gt 0 ] || usage; run "$@" ;;
  *) usage ;;
esac
