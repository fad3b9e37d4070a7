"""The classes as data: anatomical regions, their codes and the words that name them."""

from radray.regions.body_parts import BodyPart, body_parts
from radray.regions.loading import SHIPPED, load_regions
from radray.regions.region_set import Region, RegionSet

__all__ = ["SHIPPED", "BodyPart", "Region", "RegionSet", "body_parts", "load_regions"]
