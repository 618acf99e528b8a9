"""Lines as people write them, for cron of other programs and in words, and what embedq tells them.

Part of them were found in public repositories (manifests, settings, documents); the others are variations of these, and
forms that the documents of the other programs give.
"""

from __future__ import annotations

import re

import pytest

from embedq.errors import ScheduleError
from embedq.scheduling.schedule import Cron

REWRITTEN = [
    # A time zone in the text.
    ("CRON_TZ=America/New_York 0 9 18 * *", "Cron('0 9 18 * *', timezone='America/New_York')"),
    ("TZ=Europe/London 0 1 * * *", "Cron('0 1 * * *', timezone='Europe/London')"),
    ("CRON_TZ=UTC */5 * * * *", "'*/5 * * * *'"),
    ("0 9 * * * Europe/Berlin", "Cron('0 9 * * *', timezone='Europe/Berlin')"),
    ("0 27 * * * ? UTC", "'0 27 * * * ?'"),
    ("0 27 * * * ? * US/Pacific", "Cron('0 27 * * * ? *', timezone='US/Pacific')"),
    ("0 4 * * * (UTC)", "'0 4 * * *'"),
    ("Asia/Tokyo 30 8 * * 1-5", "Cron('30 8 * * 1-5', timezone='Asia/Tokyo')"),
    ("TZ=America/Sao_Paulo @daily", "Cron('@daily', timezone='America/Sao_Paulo')"),
    # Intervals.
    ("@every 5m", "every(minutes=5)"),
    ("@every 1h30m", "every(hours=1, minutes=30)"),
    ("@every 30s", "every(seconds=30)"),
    ("@every 500ms", "every(seconds=0.5)"),
    ("every 5 minutes", "every(minutes=5)"),
    ("Every 15 minutes", "every(minutes=15)"),
    ("every 4 hours", "every(hours=4)"),
    ("every 24 hours", "every(hours=24)"),
    ("every 30 days", "every(days=30)"),
    ("every 5 min", "every(minutes=5)"),
    ("rate(5 minutes)", "every(minutes=5)"),
    ("rate(1 hour)", "every(hours=1)"),
    ("rate(7 days)", "every(days=7)"),
    ("5m", "every(minutes=5)"),
    ("10 minutes", "every(minutes=10)"),
    ("PT5M", "every(minutes=5)"),
    ("P1DT12H", "every(days=1, hours=12)"),
    # Words.
    ("every day", "'0 0 * * *'"),
    ("daily", "'0 0 * * *'"),
    ("hourly", "'0 * * * *'"),
    ("every hour", "'0 * * * *'"),
    ("every minute", "'* * * * *'"),
    ("every day at 10:00", "'0 10 * * *'"),
    ("daily at 9am", "'0 9 * * *'"),
    ("every monday at 9am", "'0 9 * * mon'"),
    ("every monday 09:00", "'0 9 * * mon'"),
    ("every weekday at 18:30", "'30 18 * * mon-fri'"),
    ("mondays and thursdays at 7pm", "'0 19 * * mon,thu'"),
    ("10:30", "'30 10 * * *'"),
    ("at 12:15 am", "'15 0 * * *'"),
    ("@quarterly", "'0 0 1 1/3 *'"),
    ("@daily at 03:00", "'0 3 * * *'"),
    # What stands around it.
    ("0 9 * * * # nightly", "'0 9 * * *'"),
    ("0 9 * * * (daily at 9 AM)", "'0 9 * * *'"),
    ("0 9 * * * = 9 AM every day", "'0 9 * * *'"),
    ("0 */6 * * * // CRON: Every 6 hours", "'0 */6 * * *'"),
    ("'0 2 * * *'", "'0 2 * * *'"),
    ('"*/10 * * * *"', "'*/10 * * * *'"),
    ("cron: '0 9 * * 1-5'", "'0 9 * * 1-5'"),
    ("schedule: 0 9 * * *", "'0 9 * * *'"),
    ("30 8 * * * /path/to/repo/run_tableau_0830.sh", "'30 8 * * *'"),
    ("50 6 * * 1-5 /opt/app/.venv/bin/python run.py", "'50 6 * * 1-5'"),
    ("17 * * * * root cd / && run-parts --report /etc/cron.hourly", "'17 * * * *'"),
    ("@daily /usr/local/bin/backup", "'@daily'"),
    # AWS.
    ("cron(0 10 * * ? *)", "'0 10 * * *'"),
    ("cron(0 2 ? * SUN *)", "'0 2 * * SUN'"),
    ("cron(0/5 13-21 ? * MON-FRI *)", "'0/5 13-21 * * MON-FRI'"),
    ("cron(0 0 ? * 7 *)", "'0 0 * * sat'"),
    ("cron(0 18 ? * 2-6 *)", "'0 18 * * mon-fri'"),
    ("cron(15 9 ? * 6#3 *)", "'15 9 * * fri#3'"),
    ("0 12 * * ? *", "'0 12 * * *'"),
    ("0 5 ? * MON *", "'0 5 * * MON'"),
    # Quartz, with a year.
    ("0 0 12 1 1 ? 2030", "'0 0 12 1 1 ?'"),
    ("0 15 10 ? * MON-FRI 2027-2029", "'0 15 10 ? * MON-FRI'"),
    # Celery and systemd.
    ("crontab(minute=0, hour='*/3')", "'0 */3 * * *'"),
    ("crontab(hour=7, minute=30, day_of_week=1)", "'30 7 * * 1'"),
    ("*-*-* 02:15:00", "'15 2 * * *'"),
    ("Mon..Fri *-*-* 09:00:00", "'0 9 * * mon-fri'"),
    ("*-*-01 04:00:00", "'0 4 1 * *'"),
    ("OnCalendar=*-*-* 08:00:00", "'0 8 * * *'"),
    ("*-*-* 03:00:00 Europe/Paris", "Cron('0 3 * * *', timezone='Europe/Paris')"),
    # Slips.
    ("0 9 * * 1, 3, 5", "'0 9 * * 1,3,5'"),
    ("0 9 * * 1 - 5", "'0 9 * * 1-5'"),
    ("*/ 5 * * * *", "'*/5 * * * *'"),
    ("/5 * * * *", "'*/5 * * * *'"),
    ("*5 * * * *", "'*/5 * * * *'"),
    ("0 9 * * 1\u20135", "'0 9 * * 1-5'"),
    (r"\*/5 \* \* \* \*", "'*/5 * * * *'"),
    ("0 9 * * mon..fri", "'0 9 * * mon-fri'"),
    ("0,30, 9 * * *", "'0,30 9 * * *'"),
    ("0~59 3 * * *", "'H(0-59) 3 * * *'"),
    ("~ 3 * * *", "'H 3 * * *'"),
    ("R 2 * * *", "'H 2 * * *'"),
]
REFUSED = [
    ("@reboot", "enqueue the job where the application starts"),
    ("@reboot /root/startup.sh", "enqueue the job where the application starts"),
    ("0 0 12 ? * 2", r"write '0 0 12 \* \* mon' if it counts from 1 = Sunday .*, '0 0 12 \* \* tue' if from 0"),
    ("0 30 9 ? * 2-6", r"'0 30 9 \* \* mon-fri' if .*, '0 30 9 \* \* tue-sat' if"),
    (
        "0 9 * * * EST",
        "EST looks like a time zone, which is an argument: timezone='Europe/Berlin'.*; write '0 9 \\* \\* \\*'",
    ),
    ("cron(0 9 1 1 ? 2030)", "a schedule has no end; leave the year out"),
    ("0 24 * * *", "24 is no hour: it takes 0-23; midnight is 0"),
    ("60 * * * *", "60 is no minute: it takes 0-59"),
    ("0 9 * 0 *", "0 is no month: it takes 1-12 or jan-dec"),
    ("0 9 0 * *", "0 is no day of month: it takes 1-31"),
    ("0 9 * * 8", "8 is no day of week: it takes 0-7"),
    ("0 9 * * fri#L", "write friL for the last one"),
    ("0 9 * * L", "friL is the last Friday"),
    ("*/90 * * * *", r"use every\(...\)"),
    ("* * * *", "it has 4 fields; write five fields"),
    ("every day except sunday", "it has 4 fields; write five fields"),
    ("every other monday at 9am", "it has 5 fields|'every' is wrong for the minute"),
    ("bogus", "it has 1 fields; write five fields"),
    ("", "it has 0 fields; write five fields"),
]


@pytest.mark.parametrize(("written", "better"), REWRITTEN)
def test_a_form_of_elsewhere_is_refused_with_how_to_write_it_here(written: str, better: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        Cron(written)
    assert str(refused.value).endswith(f"; write {better}")
    assert str(refused.value).startswith(repr(" ".join(written.split())))


@pytest.mark.parametrize("better", sorted({better for _, better in REWRITTEN if not better.startswith("every")}))
def test_what_is_suggested_is_accepted(better: str) -> None:
    assert isinstance(eval(better, {"Cron": Cron}), str | Cron)
    for expression in re.findall(r"'([^']*)'", better)[:1]:
        Cron(expression, hash_id="report")


@pytest.mark.parametrize(("written", "message"), REFUSED)
def test_what_has_no_single_equivalent_is_refused_with_what_to_do(written: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        Cron(written)
