"""A twin of Mattermost REST v4 with slash commands, buttons and dialogs."""

from sandbox.mattermost.twin import MattermostTwin
from sandbox.mattermost.world import Settings

__all__ = ["MattermostTwin", "Settings"]
