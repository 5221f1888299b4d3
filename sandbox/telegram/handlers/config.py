"""help.*: what a client asks before anything else."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram.errors import refused
from sandbox.telegram.model import Tl
from sandbox.telegram.requests import Call, method

VALID_S = 3600


@method(functions.help.GetConfigRequest, signed_in=False)
def get_config(call: Call, request: Tl) -> Tl:
    settings, now = call.world.settings, call.world.now()
    return types.Config(
        date=now,
        expires=now + VALID_S,
        test_mode=False,
        this_dc=call.server.dc_id,
        dc_options=[types.DcOption(call.server.dc_id, "127.0.0.1", call.server.port)],
        dc_txt_domain_name="",
        chat_size_max=settings.chat_size_max,
        megagroup_size_max=settings.megagroup_size_max,
        forwarded_count_max=100,
        online_update_period_ms=210_000,
        offline_blur_timeout_ms=5_000,
        offline_idle_timeout_ms=30_000,
        online_cloud_timeout_ms=300_000,
        notify_cloud_delay_ms=30_000,
        notify_default_delay_ms=1_500,
        push_chat_period_ms=60_000,
        push_chat_limit=2,
        edit_time_limit=settings.edit_time_limit_s,
        revoke_time_limit=2_147_483_647,
        revoke_pm_time_limit=2_147_483_647,
        rating_e_decay=2_419_200,
        stickers_recent_limit=200,
        channels_read_media_period=604_800,
        call_receive_timeout_ms=20_000,
        call_ring_timeout_ms=90_000,
        call_connect_timeout_ms=30_000,
        call_packet_timeout_ms=10_000,
        me_url_prefix="https://t.me/",
        caption_length_max=settings.caption_length_max,
        message_length_max=settings.message_length_max,
        webfile_dc_id=call.server.dc_id,
    )


@method(functions.help.GetNearestDcRequest, signed_in=False)
def get_nearest_dc(call: Call, request: Tl) -> Tl:
    return types.NearestDc("NL", call.server.dc_id, call.server.dc_id)


@method(functions.help.GetAppConfigRequest, signed_in=False)
def get_app_config(call: Call, request: Tl) -> Tl:
    return types.help.AppConfig(0, types.JsonObject([]))


@method(functions.auth.ExportAuthorizationRequest)
def export_authorization(call: Call, request: Tl) -> Tl:
    """There is one data centre here, and one's own is refused (core.telegram.org/method/auth.exportAuthorization)."""
    raise refused("DC_ID_INVALID")
