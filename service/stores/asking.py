"""Commands for keys that a Cluster is moving: the new owner answers only after ASKING.

Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#ask-redirection
"""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from service.stores.connection import on_one_connection


class AskingRedis(Redis):
    """Sends ASKING before each command, on the same connection."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self.connection is None:
            async with on_one_connection(self) as connection:
                return await connection.execute_command(*args, **options)  # type: ignore[no-untyped-call]
        await super().execute_command("ASKING")  # type: ignore[no-untyped-call]
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = False, shard_hint: str | None = None) -> Pipeline:  # noqa: FBT001, FBT002
        """Return a pipeline without a transaction."""
        return _AskingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _AskingPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        commands, self.command_stack = self.command_stack, []
        for args, options in commands:
            self.execute_command("ASKING")
            self.execute_command(*args, **options)
        answers = await super().execute(raise_on_error)
        return answers[1::2]
