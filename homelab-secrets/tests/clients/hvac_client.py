"""What a user of hvac does, against the server at HOMELAB_ADDR. Ends with a failed assertion or with "ok"."""

import os

import hvac
from hvac import exceptions

ADDRESS, ROOT = os.environ["HOMELAB_ADDR"], os.environ["HOMELAB_TOKEN"]


def client(token=None):
    return hvac.Client(url=ADDRESS, token=token, verify=False)


def refused(kind, call, *args, **named):
    try:
        call(*args, **named)
    except kind as error:
        return str(error)
    raise AssertionError(f"{call.__name__} should have raised {kind.__name__}")


def secrets(root):
    kv = root.secrets.kv.v2
    made = kv.create_or_update_secret("web/db", secret={"user": "me", "password": "one"}, mount_point="kv")
    assert made["data"]["version"] == 1
    kv.create_or_update_secret("web/db", secret={"user": "me", "password": "two"}, cas=1, mount_point="kv")
    why = refused(exceptions.InvalidRequest, kv.create_or_update_secret, "web/db", secret={}, cas=1, mount_point="kv")
    assert "did not match the current version" in why
    kv.patch("web/db", secret={"host": "db"}, mount_point="kv")
    read = kv.read_secret_version("web/db", mount_point="kv", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"user": "me", "password": "two", "host": "db"}
    assert read["data"]["metadata"]["version"] == 3
    old = kv.read_secret_version("web/db", version=1, mount_point="kv", raise_on_deleted_version=True)
    assert old["data"]["data"]["password"] == "one"
    assert kv.list_secrets("web", mount_point="kv")["data"]["keys"] == ["db"]
    assert kv.read_secret_subkeys("web/db", mount_point="kv")["data"]["subkeys"]["host"] is None if hasattr(
        kv, "read_secret_subkeys"
    ) else True

    kv.delete_latest_version_of_secret("web/db", mount_point="kv")
    refused(exceptions.InvalidPath, kv.read_secret_version, "web/db", mount_point="kv", raise_on_deleted_version=True)
    gone = kv.read_secret_version("web/db", mount_point="kv", raise_on_deleted_version=False)
    assert gone["data"]["data"] is None and gone["data"]["metadata"]["deletion_time"]
    kv.undelete_secret_versions("web/db", versions=[3], mount_point="kv")
    kv.delete_secret_versions("web/db", versions=[2], mount_point="kv")
    kv.destroy_secret_versions("web/db", versions=[1], mount_point="kv")
    kv.update_metadata("web/db", max_versions=5, custom_metadata={"owner": "me"}, mount_point="kv")
    metadata = kv.read_secret_metadata("web/db", mount_point="kv")["data"]
    assert metadata["max_versions"] == 5 and metadata["custom_metadata"] == {"owner": "me"}
    assert metadata["versions"]["1"]["destroyed"] and metadata["versions"]["2"]["deletion_time"]
    kv.delete_metadata_and_all_versions("web/db", mount_point="kv")
    refused(exceptions.InvalidPath, kv.read_secret_metadata, "web/db", mount_point="kv")


def mounts(root):
    root.sys.enable_secrets_engine("kv", path="hv", options={"version": "2"}, description="of hvac")
    assert root.sys.list_mounted_secrets_engines()["data"]["hv/"]["description"] == "of hvac"
    root.secrets.kv.v2.configure(max_versions=3, cas_required=True, mount_point="hv")
    assert root.secrets.kv.v2.read_configuration(mount_point="hv")["data"]["max_versions"] == 3
    root.sys.tune_mount_configuration("hv", description="tuned")
    assert root.sys.read_mount_configuration("hv")["data"]["description"] == "tuned"
    root.sys.disable_secrets_engine("hv")
    assert "hv/" not in root.sys.list_mounted_secrets_engines()["data"]


def policies_and_tokens(root):
    text = 'path "kv/data/hvac/*" { capabilities = ["create", "read"] }'
    root.sys.create_or_update_policy("hvac", text)
    assert root.sys.read_policy("hvac")["data"]["rules"] == text
    assert "hvac" in root.sys.list_policies()["data"]["policies"]
    made = root.auth.token.create(policies=["hvac"], ttl="1h", meta={"who": "hvac"}, num_uses=0)
    narrow = client(made["auth"]["client_token"])
    assert narrow.is_authenticated()
    assert narrow.auth.token.lookup_self()["data"]["meta"] == {"who": "hvac"}
    narrow.secrets.kv.v2.create_or_update_secret("hvac/a", secret={"k": "v"}, mount_point="kv")
    refused(exceptions.Forbidden, narrow.secrets.kv.v2.create_or_update_secret, "hvac/a", secret={}, mount_point="kv")
    refused(exceptions.Forbidden, narrow.secrets.kv.v2.list_secrets, "hvac", mount_point="kv")
    assert narrow.sys.get_capabilities(paths=["kv/data/hvac/a"])["data"]["kv/data/hvac/a"] == ["create", "read"]
    assert narrow.auth.token.renew_self(increment="30m")["auth"]["lease_duration"] == 1800
    assert root.auth.token.lookup_accessor(made["auth"]["accessor"])["data"]["policies"] == ["default", "hvac"]
    assert made["auth"]["accessor"] in root.auth.token.list_accessors()["data"]["keys"]
    root.auth.token.revoke_accessor(made["auth"]["accessor"])
    assert not narrow.is_authenticated()
    root.sys.delete_policy("hvac")


def approle(root):
    root.sys.enable_auth_method("approle")
    assert "approle/" in root.sys.list_auth_methods()["data"]
    root.auth.approle.create_or_update_approle("ci", token_policies=["default"], token_ttl="10m", secret_id_num_uses=1)
    role = root.auth.approle.read_role_id("ci")["data"]["role_id"]
    secret = root.auth.approle.generate_secret_id("ci", metadata={"job": "1"})["data"]["secret_id"]
    machine = client()
    machine.auth.approle.login(role, secret)
    assert machine.is_authenticated()
    refused(exceptions.InvalidRequest, client().auth.approle.login, role, secret)
    assert root.auth.approle.list_roles()["data"]["keys"] == ["ci"]
    machine.logout(revoke_token=True)
    root.auth.approle.delete_role("ci")
    root.sys.disable_auth_method("approle")


def system(root):
    assert root.sys.is_initialized() and not root.sys.is_sealed()
    assert root.sys.read_health_status(method="GET")["initialized"]
    assert root.sys.read_leader_status()["ha_enabled"] is False
    assert not client("nobody").is_authenticated()
    refused(exceptions.InvalidPath, root.read, "kv/metadata/none/at/all") if root.read("kv/metadata/none") else None


root = client(ROOT)
assert root.is_authenticated()
for part in (secrets, mounts, policies_and_tokens, approle, system):
    part(root)
    print(part.__name__)
print("ok")
