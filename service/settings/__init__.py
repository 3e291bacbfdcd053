"""Settings from environment variables."""

from service.settings.environment import SettingsError, load
from service.settings.settings import Settings

__all__ = ["Settings", "SettingsError", "load"]
