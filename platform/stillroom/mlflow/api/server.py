"""What a client asks of the server itself; answers to everybody."""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

SPEAKS = "3.17.2"
INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
    "presigned_upload_run_id_supported": False,
    "presigned_upload_model_id_supported": False,
}


@csrf_exempt
def health(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return HttpResponse("OK", content_type="text/plain")


@csrf_exempt
def version(request: HttpRequest) -> HttpResponse:
    """The version of MLflow whose interface this is."""
    return HttpResponse(SPEAKS, content_type="text/plain")


@csrf_exempt
def server_info(request: HttpRequest) -> HttpResponse:
    """What is offered beyond the basic calls: nothing that a training script needs."""
    return HttpResponse(orjson.dumps(INFO), content_type="application/json")
