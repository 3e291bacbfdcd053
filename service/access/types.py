"""All resource types.

Source: https://docs.aidbox.app/reference/system-resources-reference
"""

from service.access.access_policy import ACCESS_POLICY
from service.access.client import CLIENT
from service.resources.types import AWS_ACCOUNT

RESOURCE_TYPES = (AWS_ACCOUNT, CLIENT, ACCESS_POLICY)
