"""A SLURM of one node on this machine, of Debian's packages slurm-wlm and munge, run by root without systemd."""

import os
import secrets
import shutil
import socket
import subprocess
import time

__all__ = ["Slurm", "missing"]

_PATH = f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}"
_START = 60  # seconds in which it has to be up; it takes 4
_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
# Listen on the loopback only.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is put back into the queue waits as long as its old credentials live.
AuthInfo=socket={folder}/socket/munge,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
MailProg=/bin/true
KillWait=5
ReturnToService=2
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """What a cluster needs and is not here, as a sentence; None if all is there."""
    programs = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=_PATH)]
    if programs:
        return f"{', '.join(programs)} missing: on Debian, apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "only root can start it"


class Slurm:
    """
    The daemons, each in a process of its own, and the commands.

    Parameters
    ----------
    folder : `~pathlib.Path`
        Empty, for its files.
    cpus : `int`
        How many the node pretends to have.
    """

    def __init__(self, folder, cpus=4):
        self._folder, self._processes = folder, []
        node = socket.gethostname().partition(".")[0]
        for name in ("state", "spool", "socket"):
            (folder / name).mkdir()
        (folder / "socket").chmod(0o755)  # as munge demands
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._configuration = folder / "slurm.conf"
        ports = [_free_port(), _free_port()]
        self._configuration.write_text(_CONFIGURATION.format(node=node, folder=folder, ports=ports, cpus=cpus))
        self.environment = os.environ | {"SLURM_CONF": str(self._configuration), "PATH": _PATH}

    def __enter__(self):
        try:
            folder = self._folder
            files = {
                "key-file": "munge.key",
                "pid-file": "munge.pid",
                "log-file": "munge.log",
                "seed-file": "munge.seed",
            }
            options = [f"--{option}={folder / name}" for option, name in files.items()]
            self._start("munged", "--foreground", "--force", f"--socket={folder}/socket/munge", *options)
            self._wait("munged", lambda: (folder / "socket" / "munge").exists())
            self._start("slurmctld", "-D", "-f", self._configuration)
            self._start("slurmd", "-D", "-f", self._configuration)
            self._wait("slurmd", lambda: "idle" in self.run("sinfo", "--noheader", "--format=%T", check=False))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if len(self._processes) > 1:
            self.run("scancel", "--full", "--signal=KILL", "--state=RUNNING", "--partition=main", check=False)
        # Only what was started here; a daemon that does not stop in time is killed.
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, program, *arguments):
        with (self._folder / f"{program}.out").open("w") as log:
            command = [shutil.which(program, path=_PATH), *map(str, arguments)]
            self._processes.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))

    def _wait(self, what, is_there):
        start = time.monotonic()
        while not is_there():
            ended = any(process.poll() is not None for process in self._processes)
            if ended or time.monotonic() - start > _START:
                logs = "\n".join(path.read_text() for path in sorted(self._folder.glob("*.out")))
                raise RuntimeError(f"{what} does not start:\n{logs[-4000:]}")
            time.sleep(0.1)

    def run(self, *command, check=True, cwd=None):
        """The output of a command."""
        done = subprocess.run(
            list(map(str, command)), env=self.environment, capture_output=True, text=True, timeout=120, cwd=cwd
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr or done.stdout}")
        return done.stdout

    def jobs(self):
        """The states of the tasks of all jobs that are not yet forgotten."""
        lines = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_for_all(self, seconds):
        """Wait until no job is waiting or running any more, and return how they ended."""
        start = time.monotonic()
        while {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED"}.intersection(self.jobs().values()):
            if time.monotonic() - start > seconds:
                raise TimeoutError(f"after {seconds} s: {self.jobs()}")
            time.sleep(0.5)
        return self.jobs()


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
