"""Stored files behind signed links that expire."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response

from routes import problems
from routes.documentation import Answer, describes
from routes.services import services
from switchboard.services.file_links import LinkExpiredError

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("/<signed>")
@describes(
    "A stored file by its signed link",
    answers={200: Answer("The file.", media_type="application/octet-stream")},
    errors=(404, 410),
)
def download(signed: str) -> Response:
    """The file, always as an attachment: it came from people outside and must never run in our pages."""
    try:
        file_id = services().file_links.read(signed, now=services().now())
    except LinkExpiredError as error:
        return problems.problem(410, f"{error}.")
    info, chunks = services().files.open(file_id)
    response = Response(chunks, content_type=info.media_type, direct_passthrough=True)
    response.content_length = info.size_bytes
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(info.name, safe='')}"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
