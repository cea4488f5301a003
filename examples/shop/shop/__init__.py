# SPDX-License-Identifier: Apache-2.0
"""A small shop: five endpoints, one of which leaks."""
