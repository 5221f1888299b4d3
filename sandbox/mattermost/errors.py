"""The error body of Mattermost REST v4: `{id, message, detailed_error, request_id, status_code}` (model.AppError)."""

from __future__ import annotations


class AppError(Exception):
    """An answer other than success; `id` is what clients match on, `message` is translated by the real server."""

    def __init__(self, error_id: str, message: str, status_code: int, detailed_error: str = "") -> None:
        super().__init__(f"{status_code} {error_id}: {message}")
        self.error_id = error_id
        self.message = message
        self.status_code = status_code
        self.detailed_error = detailed_error

    def wire(self, request_id: str) -> dict[str, object]:
        return {
            "id": self.error_id,
            "message": self.message,
            "detailed_error": self.detailed_error,
            "request_id": request_id,
            "status_code": self.status_code,
        }


def invalid_param(name: str, detail: str = "") -> AppError:
    """400: a field of the body is missing or malformed."""
    return AppError(
        "api.context.invalid_body_param.app_error", f"Invalid or missing {name} in request body.", 400, detail
    )


def invalid_url_param(name: str) -> AppError:
    """400: an id in the path or the query is not 26 letters and digits."""
    return AppError(
        "api.context.invalid_url_param.app_error", f"Invalid or missing {name} parameter in request URL.", 400
    )


def forbidden(permission: str) -> AppError:
    """403: the caller lacks `permission`."""
    return AppError(
        "api.context.permissions.app_error",
        "You do not have the appropriate permissions.",
        403,
        f"permission={permission}",
    )


def unauthorized() -> AppError:
    return AppError(
        "api.context.session_expired.app_error",
        "Invalid or expired session, please login again.",
        401,
        "token not accepted",
    )


def missing_account() -> AppError:
    return AppError("app.user.missing_account.const", "Unable to find the user.", 404)


def missing_channel() -> AppError:
    return AppError("app.channel.get.existing.app_error", "Unable to find the existing channel.", 404)


def missing_team() -> AppError:
    return AppError("app.team.get.find.app_error", "Unable to find the existing team.", 404)


def missing_post() -> AppError:
    return AppError("app.post.get.app_error", "Unable to get the post.", 404)


def missing_command() -> AppError:
    return AppError("store.sql_command.get.missing.app_error", "Unable to find the command.", 404)


def missing_bot(bot_user_id: str) -> AppError:
    return AppError("store.sql_bot.get.missing.app_error", "Bot does not exist.", 404, f"bot_user_id={bot_user_id}")
