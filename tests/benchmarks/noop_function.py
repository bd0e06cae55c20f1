"""The least that a function can do: answer. What it takes all the same belongs to the floor."""

import json
import time

import functions_framework
from flask import Request, Response

_posts: list[tuple[float, bytes]] = []


@functions_framework.http
def noop(request: Request) -> Response:
    """Keep when a POST came; say to a GET how many there were, or of `/arrivals`, when each message came."""
    if request.method == "POST":
        _posts.append((time.time(), request.get_data()))
        return Response(status=204)
    if request.path == "/arrivals":
        messages = [(at, json.loads(body)["message"]) for at, body in list(_posts)]
        return Response(json.dumps({message["attributes"]["number"]: at for at, message in messages}))
    return Response(str(len(_posts)))
