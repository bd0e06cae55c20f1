"""The least that a function can do: answer. What it takes all the same belongs to the floor."""

import functions_framework
from flask import Request, Response

_posts: list[None] = []


@functions_framework.http
def noop(request: Request) -> Response:
    """Count a POST; say how many there were to a GET."""
    if request.method == "GET":
        return Response(str(len(_posts)))
    request.get_data()
    _posts.append(None)
    return Response(status=204)
