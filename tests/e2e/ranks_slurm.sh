#!/usr/bin/env bash
# Ranks under a Slurm of this machine: two nodes by name on one host. Run by hand, as root, where slurmctld, slurmd, slurm-client and munge
# are installed:
#
#     ranks_slurm.sh LOWRANK
#
# A job of two tasks; the same, warned by SIGUSR1, requeues itself and goes on from its last checkpoint: it ends in the bytes of the first. A
# sweep of four tasks in groups of two: its trials' losses are those of one process.
set -euo pipefail
lowrank=$(realpath "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
chmod 755 "$work"
host=$(hostname)
export SLURM_CONF=$work/slurm.conf
mkdir "$work/state"
cat > "$SLURM_CONF" << CONF
ClusterName=lowrank
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MessageTimeout=60
JobRequeue=1
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd-%n.pid
SlurmdSpoolDir=$work/spool-%n
StateSaveLocation=$work/state
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd-%n.log
SlurmctldPort=16817
NodeName=lrs1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=2000
NodeName=lrs2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=2000
PartitionName=all Nodes=lrs1,lrs2 Default=YES State=UP
CONF
finish() {
  for pid in "$work"/*.pid; do kill "$(cat "$pid")" 2> /dev/null || true; done
  sed -i '/ lrs1 lrs2$/d' /etc/hosts 2> /dev/null || { grep -v ' lrs1 lrs2$' /etc/hosts > "$work/hosts" && cat "$work/hosts" > /etc/hosts; }
}
trap finish EXIT
echo "127.0.0.1 lrs1 lrs2" >> /etc/hosts
if ! munge -n > /dev/null 2>&1; then
  install -d -o munge /run/munge
  runuser -u munge -- /usr/sbin/munged
fi
slurmctld -f "$SLURM_CONF"
for node in lrs1 lrs2; do slurmd -f "$SLURM_CONF" -N $node; done
for _ in $(seq 60); do [ "$(sinfo -h -t idle -o %D)" = 2 ] && break || sleep 1; done

python3 - "$work/data.jsonl" << 'ROWS'
import json, sys
with open(sys.argv[1], "w") as file:
    for i in range(60):
        file.write(json.dumps({"prompt": f"What is {i}?", "completion": f" It is {i}" + "!" * (i % 5)}) + "\n")
ROWS
cat > "$work/job.sh" << JOB
#!/bin/sh
srun "$lowrank" finetune "$root/examples/base" --dtype float32 --data "$work/data.jsonl" --max-steps 200 --batch-size 2 --lr 1e-3 \
  --save-every 10 --out "$work/\$1" || { code=\$?; [ \$code = 75 ] && scontrol requeue \$SLURM_JOB_ID; exit \$code; }
JOB
echo "lr: {log: [1e-4, 1e-2]}" > "$work/space.yaml"
sweep="$lowrank sweep $work/space.yaml $root/examples/base --dtype float32 --data $work/data.jsonl --trials 4 --sampler random --seed 5 --max-steps 12 \
  --batch-size 2 --val-split 0.1 --eval-every 3"
printf '#!/bin/sh\nsrun %s --out %s/groups --ranks-per-trial 2\n' "$sweep" "$work" > "$work/study.sh"
started() { sbatch --parsable -N 2 -n 2 --requeue --open-mode=append -o "$work/$1.log" "$work/job.sh" "$1"; }
ended() { for _ in $(seq 600); do [ -z "$(squeue -h -j "$1" 2> /dev/null)" ] && return; sleep 1; done; echo "FAIL job $1 does not end"; exit 1; }

ended "$(started whole)"
job=$(started warned)
for _ in $(seq 300); do [ "$(grep -c '"loss"' "$work/warned/metrics.jsonl" 2> /dev/null)" -ge 40 ] 2> /dev/null && break || sleep 0.2; done
scancel --signal=USR1 "$job"
ended "$job"  # Slurm waits two minutes before it begins a requeued job
grep -h "started by\|stopped by signal\|started this job again\|resumed from" "$work/warned.log"
[ "$(grep -c 'started this job again' "$work/warned.log")" = 1 ] || { echo "FAIL it did not go on"; exit 1; }
cmp "$work/whole/adapter_model.safetensors" "$work/warned/adapter_model.safetensors"
echo "ok   a job that Slurm requeued ended in the bytes of one that nothing happened to"

job=$(sbatch --parsable -N 2 -n 4 -o "$work/groups.log" "$work/study.sh")
ended "$job"
$sweep --grad-accum 2 --out "$work/alone" > "$work/alone.log"
python3 - "$work/groups" "$work/alone" << 'LOSSES' || { tail -5 "$work/groups.log"; exit 1; }
import json, sys
groups, alone = ([json.loads(line)["value"] for line in open(folder + "/trials.jsonl")] for folder in sys.argv[1:])
apart = max(abs(a / b - 1) for a, b in zip(groups, alone))
good = len(groups) == len(alone) == 4 and apart < 1e-5
print("ok  " if good else "FAIL", f"a sweep under Slurm in groups of two: {len(groups)} trials, {apart:.1e} from those of one process")
sys.exit(not good)
LOSSES
