"""What time is it there, in the words of whoever asks? Plain ASGI with Starlette, Jinja2 and Babel."""

from world.app import app

__all__ = ["app"]
