"""Workers that are slower than the lease of their events, and operators who replay the same dead letters at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from sys import executable

from moderator.queue.embedded_server import free_port
from tests.chaos.fault import Fault
from tests.chaos.stage import Setting, Stage
from tests.support.http_server import Answer, HttpServer
from tests.support.service import WorkerProcess, environment, small_jpeg

#: Seconds of the lease, and of each slow image: it outlasts several.
LEASE, SLOW = 1.0, 3.5
#: Operators who replay all dead letters at the same time.
OPERATORS = 4


class SlowWorker(Fault):
    name = "slow-worker"
    what = (
        "two workers, and images whose fetching outlasts the lease several times, alone and in bulk messages: none is "
        "fetched or embedded twice"
    )
    trials = (5, 1)

    def __init__(self, quick: bool, folder: Path) -> None:
        super().__init__(quick, folder)
        self._http = HttpServer()
        self._second: WorkerProcess | None = None

    def setting(self) -> Setting:
        return Setting(
            worker={"redeliver_after": str(LEASE), "fetch_networks": "127.0.0.0/8"},
            caller={"redeliver_after": str(LEASE)},
        )

    def strike(self, stage: Stage, trial: int) -> None:
        file = small_jpeg(stage.images / f"slow-{trial}.jpg", shade=trial)
        urls = []
        for n in range(20):
            path = f"/{trial}-{n}.jpg"
            self._http.answers[path] = [Answer(200, file.read_bytes(), delay=SLOW)]
            urls.append(self._http.url(path))
        stage.load.submit_many(f"slow-{trial}", [{"url": url} for url in urls[:15]])
        for n, url in enumerate(urls[15:]):
            stage.load.submit(f"slow-{trial}-{n}", url=url)

    @contextmanager
    def around(self, stage: Stage) -> Iterator[None]:
        with self._http:
            settings = {**stage.worker.settings, "metrics_port": str(free_port())}
            self._second = type(stage.worker)(self.folder / "second", **settings).start()
            yield
            stage.load.stop()
            # Until the slow ones are through: their server ends with this block.
            stage.until(lambda: not stage.client.ledger.pending())

    def check(self, stage: Stage) -> Iterator[str]:
        assert self._second is not None
        seen = [worker.metrics() for worker in (stage.worker, self._second)]
        forwards = sum(metrics["moderation_batch_size_sum"] for metrics in seen)
        verdicts = stage.client.redis.xlen("moderation:verdicts")
        if forwards != verdicts:
            yield f"{forwards:g} images went through the model for {verdicts} verdicts"
        fetched = Counter(request.path for request in self._http.requests)
        if again := [path for path, times in fetched.items() if times > 1]:
            yield f"{len(again)} images were fetched again: {again[:3]}"

    def close(self) -> None:
        if self._second is not None:
            self._second.kill()


class ParallelReplay(Fault):
    name = "parallel-replay"
    what = (
        f"many dead letters, replayed by {OPERATORS} operators at once, while events come in: each is replayed "
        "once"
    )
    trials = (3, 1)

    def strike(self, stage: Stage, trial: int) -> None:
        for n in range(10 if self.quick else 50):
            event = stage.load.submit(f"late-{trial}-{n}", path=self._file(stage, len(stage.expected_errors)))
            stage.expected_errors[event.key] = "ImageNotFound"

    def check(self, stage: Stage) -> Iterator[str]:
        """All is counted; what comes here adds a second entry to the stream for each that died."""
        for n in range(len(stage.expected_errors)):
            small_jpeg(self._file(stage, n), shade=n)
        more = [stage.client.submit(path=self._file(stage, 0), id=f"beside-{n}").key for n in range(50)]
        command = [executable, "-m", "moderator", "dead-letters", "replay", "--all"]
        settings = environment(redis_url=stage.server.url)
        operators = [Popen(command, env=settings, cwd=self.folder, stdout=DEVNULL) for _ in range(OPERATORS)]
        if any(codes := [operator.wait() for operator in operators]):
            yield f"replays ended with {codes}"
        stage.until(lambda: not stage.client.ledger.pending())
        answers: dict[str, list[bool]] = {}
        for _, verdict in stage.client.verdicts.tail("0", follow=False):
            answers.setdefault(f"{verdict.source}:{verdict.event_id}", []).append(verdict.error is None)
        wrong = [key for key in stage.expected_errors if answers.get(key) != [False, True]]
        wrong += [key for key in more if answers.get(key) != [True]]
        if wrong:
            yield f"{len(wrong)} events have not one error and one verdict: {wrong[0]}: {answers.get(wrong[0])}"
        if left := len(stage.client.dead_letters):
            yield f"{left} dead letters are left"

    @staticmethod
    def _file(stage: Stage, n: int) -> Path:
        return stage.images / f"late-{n}.jpg"
