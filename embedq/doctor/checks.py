"""The table of checks: the source of each finding, its text, and the advice.

The other modules read the facts and decide whether a check applies; every text is here. Checks with the same code are
variants of one finding.
"""

from __future__ import annotations

from embedq.doctor.findings import Check, Severity

_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def _check(code: str, severity: Severity, reads: str, problem: str, advice: str) -> Check:
    return Check(code=code, severity=severity, reads=reads, problem=problem, advice=advice)


# fmt: off
# -- processes ---------------------------------------------------------------------------------------------------------

PROCESS_STOPPED = _check("process-stopped", _ERROR, "lock files, /proc",
    "{process} was stopped by a signal (SIGSTOP, Ctrl-Z) or is held by a debugger{held}",
    "resume it: kill -CONT {pid}; or end it, and its jobs run elsewhere: kill -KILL {pid}")
_SILENT = "{process} has sent no heartbeat for {silence}, and is not dead: its lock is held{held}"
PROCESS_SILENT = _check("process-silent", _ERROR, "heartbeats, lock files",
    _SILENT,
    "it is suspended (a paused container, a laptop that slept), swaps, cannot reach the database, or computes "
    "without ever releasing the interpreter's lock. Inspect it, or end it: its jobs then run elsewhere")
PROCESS_SILENT_UWSGI = _check("process-silent", _ERROR, "heartbeats, lock files, /proc",
    _SILENT,
    "uWSGI needs --enable-threads, and --lazy-apps or --py-call-uwsgi-fork-hooks: without them no thread runs")
THREADS_RESTARTED = _check("threads-restarted", _WARNING, "the process's row",
    "{threads} of {process} ended unexpectedly and {were} restarted",
    "its jobs continue; the reasons are errors of embedq or of what it calls, and are in the log of the process "
    "with their tracebacks")
PROCESS_DEAD_OR_CUT_OFF = _check("process-dead", _WARNING, "heartbeats of other hosts",
    "{process} has sent no heartbeat for {silence}{held}, and its lock is not visible here",
    "it has died, or is cut off from the database: then it has ended its runs, and reconnects by itself. Other "
    "processes take its jobs when they have observed it for the lease; if no process runs jobs, start one")
PROCESS_DEAD_WITH_JOBS = _check("process-dead", _WARNING, "lock files",
    "{process} is dead{held}",
    "start a process that runs jobs: it takes them back at once")
PROCESS_DEAD = _check("process-dead", _NOTE, "lock files",
    "{process} ended without removing its registration",
    "the next process that starts removes it")
NO_LEADER = _check("no-leader", _ERROR, "the lease of the leader",
    "no process is the leader: recurring jobs do not fire, and ended jobs are not deleted",
    "look for errors of embedq in the logs of the processes, and restart them")
VERSIONS_DIFFER = _check("versions-differ", _WARNING, "the processes' rows",
    "processes run different versions of embedq: {versions}",
    "expected during a deployment; otherwise restart the old processes with the new version")
DOCTOR_VERSION = _check("version-of-the-doctor", _NOTE, "the processes' rows",
    "the processes run embedq {version}, and this is {own}",
    "run this command in the environment of the processes")
TWO_APPS = _check("two-apps", _WARNING, "the code that the processes have loaded",
    "processes of different apps share this database: each takes the other's jobs, and a recurring job that both "
    "declare belongs to the app that started last",
    "give each app its own database, or its own queue that only its processes work (queues=[…], --queues). During "
    "a deployment to a new folder this ends by itself")
TWO_APPS_PARKED = _check("two-apps", _WARNING, "parked jobs, the folders of the processes",
    "jobs wait for functions that no process here has, and the processes run in different folders: two apps may "
    "share this database by accident",
    "give each app its own database, or its own queue that only its processes work")

# -- clocks ------------------------------------------------------------------------------------------------------------

CLOCK_SET_BACK = _check("clock-set-back", _ERROR, "the newest job, heartbeats",
    "{event} {ahead} from now: this clock was set back, or another was ahead",
    "delayed and recurring jobs follow this clock. If it is wrong now, set it (chronyc tracking, timedatectl); if "
    "it was wrong before, check what was due in the meantime: embedq jobs --state scheduled")
CLOCK_DIFFERS = _check("clock-differs", _NOTE, "the clock of the database server",
    "this host's clock is {offset} {direction} the database's",
    "jobs follow the database's clock, and the code in them this host's: run NTP on both")
CLOCK_MOVED_FORWARD = _check("clock-moved-forward", _WARNING, "registrations, /proc",
    "the clock was moved forward by {leap} or more while {process} ran",
    "what was due in between was late, and recurring jobs followed their misfire policy: embedq schedules show "
    "NAME. Let NTP correct the clock in small steps")

# -- jobs --------------------------------------------------------------------------------------------------------------

_NO_PROCESS = "start the application that calls embedq.start(), or: embedq worker --app MODULE"
NO_PROCESS_DUE = _check("no-process", _ERROR, "processes, due jobs",
    "no process runs jobs, with {jobs} due",
    _NO_PROCESS)
NO_PROCESS_LATER = _check("no-process", _WARNING, "processes, delayed jobs",
    "no process runs jobs, with {jobs} due later",
    _NO_PROCESS)
NO_PROCESS = _check("no-process", _NOTE, "processes",
    "no process runs jobs, and none is waiting",
    _NO_PROCESS)
_UNSERVED = "no live process works the queue {queue!r}, with {jobs} waiting"
_NAME_QUEUE = "add it where the queues are set (queues=[…], --queues), which are: {worked}"
QUEUE_UNSERVED = _check("queue-unserved", _ERROR, "queues of processes and of due jobs",
    _UNSERVED,
    _NAME_QUEUE)
QUEUE_UNSERVED_LATER = _check("queue-unserved", _WARNING, "queues of processes and of delayed jobs",
    _UNSERVED + " to become due",
    _NAME_QUEUE)
QUEUE_LATE = _check("queue-late", _WARNING, "due jobs",
    "in the queue {queue!r} a job has been due for {wait}, of {jobs} waiting",
    "more workers or processes, shorter jobs, or a separate queue for what is urgent: embedq stats")
JOBS_PARKED = _check("jobs-parked", _ERROR, "parked jobs",
    "{jobs} parked: {needs} is required, {lacking}",
    "{remedy}")
JOBS_PARKED_MORE = _check("jobs-parked", _ERROR, "parked jobs",
    "and {more} more requirements",
    "embedq jobs --state parked")
PAUSED_LONG = _check("paused-long", _WARNING, "pauses",
    "{what} paused for {since}, and does not end by itself{reason}",
    "if that is intended, let it end at a time: embedq pause --until; if not: embedq resume. It was paused by {actor}")
PAUSED = _check("paused", _NOTE, "pauses",
    "{what} paused, by {actor}{until}{reason}",
    "embedq holds, embedq resume")
PAUSE_IGNORED = _check("pause-ignored", _ERROR, "pauses, the versions of processes",
    "{hostname}, process {pid}: embedq {version} does not know pauses, and starts jobs that are paused",
    "restart it with the version that paused them")
LIMIT_ZERO = _check("limit-zero", _WARNING, "limits, jobs in lanes",
    "the limit {name!r} is 0 {which}, {source}: no job under it starts; {jobs} waiting",
    "if that is not intended: embedq limits set NAME --reset, or --total N; to stop jobs for a while a pause is "
    "better, since it has a reason and an end: embedq pause")
KEY_STARVES = _check("key-starves", _WARNING, "jobs in lanes, the latest starts",
    "under the limit {limit!r} the next job of {key!r} has waited for {wait}, while jobs of other keys started; {jobs} "
    "waiting",
    "embedq show {job} gives the reason. If its own share is taken by jobs that do not end, give them a timeout; if it "
    "is too small: embedq limits set NAME --each N; if jobs of a higher priority always go first, lower that")
JOBS_OVERDUE = _check("jobs-overdue", _WARNING, "running jobs",
    "{jobs} running past the timeout, not interruptible",
    'each holds a thread. Give the calls in them their own timeouts (sockets, locks), or run them with '
    'executor="process"')
JOBS_SUSPECT = _check("jobs-suspect", _WARNING, "crash counts",
    "{jobs} may be crashing their process: it died twice while they ran",
    "each is tried alone, and is dead after max_crashes crashes. Look for the kernel's out-of-memory killer, C "
    "extensions that crash, and a deployment that kills without a warning; give a job that may be the cause "
    'executor="process"')
ATTEMPTS_FAIL = _check("attempts-fail", _WARNING, "the counters of the last hour",
    "of {attempts} in the last hour {failed:,} failed",
    "is something that the jobs need unavailable? embedq jobs --state retrying")
_RETRY = "inspect one, fix the cause, then: embedq retry --all --name NAME"
JOBS_DIED = _check("jobs-died", _WARNING, "dead jobs",
    "{jobs} failed permanently in the last 24 hours",
    _RETRY)
JOBS_DEAD = _check("jobs-dead", _NOTE, "dead jobs",
    "{jobs} failed permanently, before the last 24 hours",
    _RETRY)

# The requirement of a parked job, by its first word, and what to do about it.
REMEDIES = {
    "task": "import the module that defines it before embedq.start(); if it was renamed, keep the old name: "
    "@embedq.job(aliases=[…]); if it was removed: embedq cancel",
    "type": "import the module that defines it before embedq.start(), in the version that stored it",
    "module": "install it where the jobs run, or cancel these jobs: embedq cancel",
    "python": "run a worker on that version of Python until they are done, or cancel them: embedq cancel",
    "key": "give every process the same secret_key (EMBEDQ_SECRET_KEY), or the same key file",
    "stored": "upgrade embedq where the jobs run: a newer version wrote them",
    "time": "install the package tzdata where the jobs run",
}
OTHER_REMEDY = "inspect one of them, then enqueue it again or cancel it: embedq show, embedq cancel"

# -- recurring jobs ----------------------------------------------------------------------------------------------------

SCHEDULE_BROKEN = _check("schedule-broken", _ERROR, "schedules",
    "recurring job {name!r} cannot fire: {error}",
    "register it again from code that can, or remove it: embedq schedules remove NAME")
SCHEDULE_LATE = _check("schedule-late", _ERROR, "schedules",
    "recurring job {name!r} should have fired {late} ago",
    "{remedy}")
SCHEDULES_BROKEN_MORE = _check("schedule-broken", _ERROR, "schedules",
    "about {more}: failing",
    "embedq schedules --state failing")
SCHEDULES_LATE_MORE = _check("schedule-late", _ERROR, "schedules",
    "about {more}: late",
    "embedq schedules --state late")
SCHEDULE_FAILS = _check("schedule-fails", _WARNING, "the last job of each schedule",
    "the last run of recurring job {name!r} failed permanently",
    "embedq show {job}")
SCHEDULE_SKIPS = _check("schedule-skips", _WARNING, "occurrences that were skipped",
    "recurring job {name!r}: the last {skipped} occurrences were skipped, because a run was in their way",
    "see which: embedq schedules show NAME; give its task a timeout, or the schedule a longer interval"
    " or another overlap policy")
SCHEDULE_MISSING = _check("schedule-missing", _WARNING, "what the code declares",
    "the code no longer declares {schedules}; they continue to fire",
    "embedq schedules remove NAME, or embedq.sync_recurring(prune=True) after the last declaration")
SCHEDULE_PAUSED = _check("schedule-paused", _NOTE, "schedules",
    "{schedules} paused",
    "embedq schedules resume NAME")

# -- SQLite ------------------------------------------------------------------------------------------------------------

NO_WRITE_AHEAD_LOG = _check("no-write-ahead-log", _ERROR, "PRAGMA journal_mode",
    "the journal mode is {journal} instead of wal: readers and writers block each other",
    "another program opens this file and changes the mode; stop it, and give embedq its own file")
NETWORK_FILESYSTEM = _check("network-filesystem", _ERROR, "the file system",
    "the file is on a network file system ({filesystem}), where SQLite's locks and shared memory are not "
    "reliable: it can be destroyed",
    "move it to a local disk, or use PostgreSQL or MySQL: embedq copy")
DISK_FULL = _check("disk-full", _ERROR, "the file system",
    "the disk of {folder} has {free} left: soon no job can be enqueued",
    "free space; running jobs continue, and are recorded when there is space")
DISK_NEARLY_FULL = _check("disk-nearly-full", _WARNING, "the file system",
    "the disk of {folder} has {free} left",
    "free space")
LOG_GROWS = _check("log-grows", _WARNING, "the write-ahead log, /proc/locks",
    "the write-ahead log has grown to {size}: the transaction of a reader does not end, and reads become slower",
    "end that transaction: a shell, a backup, a request that did not close its cursor. Then the log shrinks")
WRITE_LOCK_HELD = _check("write-lock-held", _WARNING, "/proc/locks",
    "process {pid} keeps the file locked for writing; no other process can enqueue or finish jobs in the meantime",
    "commit or roll back its transaction (a shell, a migration, a long import), or end the process")
FILE_OPEN_TO_ALL = _check("file-open-to-all", _WARNING, "file permissions",
    "every user of this machine may write to {path} (mode {mode:o})",
    "chmod o-w {path}")
FOLDER_OPEN = _check("folder-open", _WARNING, "file permissions",
    "other users may write to {folder}, which contains the key and the locks",
    "chmod go-w {folder}")
KEY_FILE = _check("key-file", _ERROR, "the key file",
    "functions that are not registered cannot run: {error}",
    "or set one secret_key (EMBEDQ_SECRET_KEY) for all processes")

# -- servers -----------------------------------------------------------------------------------------------------------

NO_FSYNC = _check("no-fsync", _ERROR, "pg_settings",
    "fsync is off: a power cut loses jobs that were acknowledged, and may destroy the database",
    "set fsync = on in postgresql.conf")
NO_FLUSH = _check("no-flush", _WARNING, "innodb_flush_log_at_trx_commit",
    "innodb_flush_log_at_trx_commit is {flush}: a power cut loses jobs that were acknowledged",
    "set it to 1, unless this is intended")
AUTOVACUUM_OFF = _check("autovacuum-off", _WARNING, "pg_settings",
    "autovacuum is off: dead rows are not removed, and claims become slower",
    "set autovacuum = on in postgresql.conf, or run VACUUM on embedq's tables often")
TABLE_AUTOVACUUM_OFF = _check("autovacuum-off", _WARNING, "the options of the tables",
    "autovacuum is off for {table}: claims become slower",
    "ALTER TABLE {table} RESET (autovacuum_enabled)")
DEAD_ROWS = _check("dead-rows", _WARNING, "pg_stat_user_tables",
    "{table} has {dead:,} dead rows and {live:,} live ones: vacuum is prevented from removing them",
    "look for old transactions and replication slots; then: VACUUM {table}")
_IDLE_ADVICE = "let it end if it is a backup, or end it: "
TRANSACTION_OPEN = _check("transaction-open", _WARNING, "pg_stat_activity",
    "session {session} of {user} has had a transaction open for {duration}{idle}: rows that died since then "
    "cannot be removed, and every claim skips them",
    _IDLE_ADVICE + "SELECT pg_terminate_backend({session}); and set idle_in_transaction_session_timeout")
MYSQL_TRANSACTION_OPEN = _check("transaction-open", _WARNING, "information_schema.innodb_trx",
    "thread {session} of {user} has had a transaction open for {duration}{idle}: changes since then cannot be "
    "purged",
    _IDLE_ADVICE + "KILL {session}")
TRANSACTION_PREPARED = _check("transaction-prepared", _WARNING, "pg_prepared_xacts",
    "the prepared transaction {name!r} has been open for {duration}: rows that died since then cannot be removed",
    "COMMIT PREPARED or ROLLBACK PREPARED '{name}'")
HISTORY_LONG = _check("history-long", _WARNING, "the history list of InnoDB",
    "{changes:,} changes wait to be purged (history list length): reads become slower",
    "end the oldest transaction; then it shrinks by itself")
SESSIONS_UNSEEN = _check("sessions-unseen", _NOTE, "the privileges of the user",
    "this user may not read the sessions of other users, so old transactions were not checked",
    "GRANT pg_read_all_stats TO this user")
TRANSACTIONS_UNSEEN = _check("transactions-unseen", _NOTE, "the privileges of the user",
    "this user may not read open transactions, so old ones were not checked",
    "GRANT PROCESS ON *.* TO this user")
CONNECTIONS = _check("connections", _WARNING, "the connections of the server",
    "of the server's {limit} {used} are in use",
    "embedq uses at most 5 per process; {remedy}")
