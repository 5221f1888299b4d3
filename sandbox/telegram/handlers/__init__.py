"""The calls of the API, one module a family. `sandbox.telegram.methods` imports them all."""
