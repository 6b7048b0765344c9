"""The consumer of the outbox that writes the archive."""

import logging
import time
from collections.abc import Callable, Sequence

from moderator.archive.archive_metrics import ArchiveMetrics
from moderator.archive.archive_records import NewRecord, read_delivery
from moderator.archive.archive_store import Archive, open_archive
from moderator.archive.maintenance import Maintenance
from moderator.delivery.consumers import Settle
from moderator.errors import ArchiveNewer, ArchiveUnavailable, ConsumerUnavailable, RecordRefused
from moderator.queue.outbox import Delivery
from moderator.queue.subscriptions import ARCHIVE
from moderator.settings import Settings

log = logging.getLogger(__name__)

#: Deliveries in one transaction.
BATCH_DELIVERIES_MAX = 500
#: Seconds between two looks for evidence to move and verdicts to forget.
MAINTENANCE_SECONDS = 60.0


class ArchiveWriter:
    """Writes verdicts and their evidence in batches, and keeps the archive in order in between.

    Args:
        settings: all of them.
        clock: monotonic seconds.

    Raises:
        SettingsError: the URL of the archive is malformed.
        ExtraMissing: the driver of its database is not installed.
    """

    name = ARCHIVE
    wants_evidence = True
    attempts = 5

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._archive: Archive = open_archive(settings)
        self._maintenance = Maintenance(self._archive, settings.archive_days)
        self._clock = clock
        self._metrics = ArchiveMetrics()
        self.collectors = self._metrics.collectors
        self._due = clock() + MAINTENANCE_SECONDS

    def room(self) -> int:
        """Return the size of a batch."""
        return BATCH_DELIVERIES_MAX

    def deliver(self, deliveries: Sequence[Delivery], settle: Settle) -> None:
        """Write a batch in one transaction; one verdict that cannot be written fails alone.

        Raises:
            ConsumerUnavailable: the database cannot be used now.
        """
        records: dict[str, NewRecord] = {}
        by_key = {delivery.key: delivery for delivery in deliveries}
        for key, delivery in by_key.items():
            try:
                records[key] = read_delivery(delivery)
            except RecordRefused as error:
                settle.fail(delivery, error)
        try:
            if records:
                self._write(by_key, records, settle)
        except (ArchiveUnavailable, ArchiveNewer) as error:
            raise ConsumerUnavailable(str(error)) from error
        self._keep_in_order()

    def close(self) -> None:
        """Close the connections."""
        self._archive.close()

    def _write(self, by_key: dict[str, Delivery], records: dict[str, NewRecord], settle: Settle) -> None:
        try:
            added = self._archive.add(list(records.values()))
        except RecordRefused as error:
            if len(records) == 1:
                (key,) = records
                settle.fail(by_key[key], error)
                return
            for key, record in records.items():
                self._write(by_key, {key: record}, settle)
        else:
            self._metrics.count(added.archived, added.repeated, added.erased)
            settle.done([by_key[key] for key in records])

    def _keep_in_order(self) -> None:
        if self._clock() < self._due:
            return
        try:
            self._maintenance.step()
        except Exception as error:  # the verdicts are archived; the next look tries again
            self._metrics.upkeep_failures.inc()
            log.warning("the archive could not be kept in order: %s", error)
        self._due = self._clock() + MAINTENANCE_SECONDS
