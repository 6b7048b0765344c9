"""What senders post, as their documentation shows it, with the parts that matter as arguments."""

import base64
import json
from typing import Any
from urllib.parse import quote_plus

TOPIC = "arn:aws:sns:us-east-1:123456789012:uploads"


def s3_record(
    bucket: str = "uploads",
    key: str = "cats/a cat.jpg",
    *,
    event: str = "ObjectCreated:Put",
    sequencer: str = "0055AED6DCD90281E5",
    version: str | None = None,
    size: int = 1024,
) -> dict[str, Any]:
    """One record of an S3 notification (Amazon S3 user guide, "Event message structure")."""
    stored: dict[str, Any] = {
        "key": quote_plus(key),
        "size": size,
        "eTag": "d41d8cd98f00b204e9800998ecf8427e",
        "sequencer": sequencer,
    }
    if version is not None:
        stored["versionId"] = version
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-26T20:00:00.000Z",
        "eventName": event,
        "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "203.0.113.7"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": stored,
        },
    }


def s3_body(*records: dict[str, Any]) -> bytes:
    return json.dumps({"Records": list(records or [s3_record()])}).encode()


def minio_body(bucket: str = "uploads", key: str = "cats/a cat.jpg", version: str | None = None) -> bytes:
    """MinIO, "Publish events to webhook": an S3 notification with two fields around it, and `s3:` before names."""
    record = s3_record(
        bucket, key, event="s3:ObjectCreated:Put", sequencer="17CA0A6D2C5B1F4E", version=version
    )
    record |= {"eventSource": "minio:s3", "awsRegion": ""}
    record["s3"]["object"] |= {"contentType": "image/jpeg", "userMetadata": {"content-type": "image/jpeg"}}
    whole = {"EventName": "s3:ObjectCreated:Put", "Key": f"{bucket}/{key}", "Records": [record]}
    return json.dumps(whole).encode()


#: Sent once when notifications are set up.
S3_TEST_EVENT = json.dumps(
    {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2026-11-26T20:00:00.000Z",
        "Bucket": "uploads",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }
).encode()


def sns_body(kind: str = "Notification", message: bytes | None = None, **changes: Any) -> bytes:
    """Amazon SNS developer guide, "HTTP/HTTPS notification JSON format"."""
    whole: dict[str, Any] = {
        "Type": kind,
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon S3 Notification",
        "Message": (message if message is not None else s3_body()).decode(),
        "Timestamp": "2026-11-26T20:00:01.000Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLEw6JRN",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem",
    }
    if kind == "SubscriptionConfirmation":
        whole["Token"] = "2336412f37"
        whole["SubscribeURL"] = (
            f"https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37"
        )
    return json.dumps({**whole, **changes}).encode()


def gcs_resource(bucket: str, name: str, generation: int) -> dict[str, Any]:
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "name": name,
        "bucket": bucket,
        "generation": str(generation),
        "metageneration": "1",
        "contentType": "image/jpeg",
        "timeCreated": "2026-11-26T20:00:00.000Z",
        "size": "1024",
        "etag": "CNDq0N2F7YkDEAE=",
    }


def gcs_push(
    bucket: str = "uploads",
    name: str = "cats/a cat.jpg",
    generation: int = 1_764_187_200_000_001,
    event: str = "OBJECT_FINALIZE",
    payload: bool = True,
) -> bytes:
    """Cloud Storage, "Pub/Sub notifications", pushed as Pub/Sub, "Push subscriptions", shows."""
    attributes = {
        "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
        "eventType": event,
        "payloadFormat": "JSON_API_V1" if payload else "NONE",
        "bucketId": bucket,
        "objectId": name,
        "objectGeneration": str(generation),
        "eventTime": "2026-11-26T20:00:00.000000Z",
    }
    message: dict[str, Any] = {
        "attributes": attributes,
        "messageId": "2070443601311540",
        "message_id": "2070443601311540",
        "publishTime": "2026-11-26T20:00:00.789Z",
    }
    if payload:
        message["data"] = base64.b64encode(
            json.dumps(gcs_resource(bucket, name, generation)).encode()
        ).decode()
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/moderator"}).encode()


def gcs_cloud_event(
    bucket: str = "uploads", name: str = "cats/a cat.jpg", generation: int = 1_764_187_200_000_001
) -> tuple[dict[str, str], bytes]:
    """Headers and body of Eventarc: `google.cloud.storage.object.v1.finalized`, binary mode."""
    headers = {
        "content-type": "application/json",
        "ce-id": "2070443601311540",
        "ce-source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
        "ce-specversion": "1.0",
        "ce-subject": f"objects/{name}",
        "ce-type": "google.cloud.storage.object.v1.finalized",
        "ce-time": "2026-11-26T20:00:00.000Z",
    }
    return headers, json.dumps(gcs_resource(bucket, name, generation)).encode()


def blob_data(
    url: str, sequencer: str = "00000000000004420000000000028963", size: int = 1024
) -> dict[str, Any]:
    return {
        "api": "PutBlockList",
        "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
        "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
        "eTag": "0x8D4BCC2E4835CD0",
        "contentType": "image/jpeg",
        "contentLength": size,
        "blobType": "BlockBlob",
        "url": url,
        "sequencer": sequencer,
        "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
    }


BLOB_URL = "https://shop.blob.core.windows.net/uploads/cats/a%20cat.jpg"


def event_grid_body(
    url: str = BLOB_URL, kind: str = "Microsoft.Storage.BlobCreated", **changes: Any
) -> bytes:
    """Azure Event Grid, "Azure Blob Storage as an Event Grid source", in Event Grid's own schema."""
    event = {
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/shop",
        "subject": "/blobServices/default/containers/uploads/blobs/cats/a cat.jpg",
        "eventType": kind,
        "eventTime": "2026-11-26T20:00:00.1234567Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": {**blob_data(url), **changes},
        "dataVersion": "",
        "metadataVersion": "1",
    }
    return json.dumps([event]).encode()


def event_grid_cloud_event(url: str = BLOB_URL) -> tuple[dict[str, str], bytes]:
    """The same in CloudEvents, structured mode."""
    event = {
        "specversion": "1.0",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/shop",
        "subject": "/blobServices/default/containers/uploads/blobs/cats/a cat.jpg",
        "type": "Microsoft.Storage.BlobCreated",
        "time": "2026-11-26T20:00:00.1234567Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": blob_data(url),
    }
    return {"content-type": "application/cloudevents+json; charset=utf-8"}, json.dumps(event).encode()


def event_grid_validation(code: str = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6") -> bytes:
    """Azure Event Grid, "Endpoint validation"."""
    event = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/s",
        "subject": "",
        "data": {
            "validationCode": code,
            "validationUrl": "https://rp-eastus2.eventgrid.azure.net/eventsubscriptions/e/validate?id=1",
        },
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-11-26T20:00:00.1234567Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
    return json.dumps([event]).encode()


def tusd_body(kind: str, storage: dict[str, str] | None = None, **upload: Any) -> bytes:
    """tusd, "Customization via hooks": the body of an HTTP hook."""
    whole = {
        "ID": "" if kind == "pre-create" else "14b1c4c77771671a8479bc0444bbc5ce",
        "Size": 46205,
        "SizeIsDeferred": False,
        "Offset": 0 if kind == "pre-create" else 46205,
        "MetaData": {"filename": "a cat.jpg", "filetype": "image/jpeg"},
        "IsPartial": False,
        "IsFinal": False,
        "PartialUploads": None,
        "Storage": None
        if kind == "pre-create"
        else storage or {"Type": "filestore", "Path": "/srv/uploads/14b1"},
        **upload,
    }
    request = {
        "Method": "PATCH",
        "URI": "/files/14b1c4c77771671a8479bc0444bbc5ce",
        "RemoteAddr": "127.0.0.1:59395",
        "Header": {"Host": ["localhost:8080"], "Authorization": ["Bearer of-the-client"]},
    }
    return json.dumps({"Type": kind, "Event": {"Upload": whole, "HTTPRequest": request}}).encode()
