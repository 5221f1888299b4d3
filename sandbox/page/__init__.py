"""The live page of the sandbox: what arrived, as whom, and the switches to try things out."""

from sandbox.page.routes import page_routes

__all__ = ["page_routes"]
