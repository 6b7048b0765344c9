"""Flask: check a picture before it is kept. flask --app examples.flask_upload run"""

from typing import Any

from flask import Flask, abort, request

from moderator import Client
from moderator.errors import ModeratorError

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 25_000_000
client = Client()


@app.post("/photos")
def upload() -> tuple[dict[str, Any], int]:
    """Keep a picture, hold it until somebody has looked at it, or refuse it."""
    file = request.files["file"]
    try:
        verdict = client.check(inline=file.read(), source="flask", timeout=15)
    except ModeratorError as error:
        app.logger.warning("not checked: %s", error)
        abort(503, "the picture cannot be checked now")
    if verdict.decision in ("block", "error"):
        abort(422, f"the picture is not allowed: {verdict.top_category or verdict.decision}")
    return {"file": file.filename, "held": verdict.decision == "review"}, 201
