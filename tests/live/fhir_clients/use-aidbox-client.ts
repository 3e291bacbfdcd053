// What @health-samurai/aidbox-client does with resources, and a signed URL.
import { AidboxClient, BasicAuthProvider } from "@health-samurai/aidbox-client";

const { BASE, USER_ID, SECRET, ID: id } = process.env;
const client = new AidboxClient(BASE, new BasicAuthProvider(BASE, USER_ID, SECRET));
const type = "AwsAccount";
const fields = { "access-key-id": "AKIAIOSFODNN7EXAMPLE", "secret-access-key": "a-secret", "use-ssl": true };
const searchParameters = [["_id", id]];
const seen: unknown[] = [];
const done = (result) => {
  if (result.isErr()) throw new Error(JSON.stringify(result.value));
  seen.push(result.value.response.status);
  return result.value.resource;
};
done(await client.capabilities({ mode: "full" }));
done(await client.conditionalCreate({ type, searchParameters, resource: fields }));
done(await client.conditionalCreate({ type, searchParameters, resource: fields }));
const stored = done(await client.read({ type, id }));
done(await client.conditionalUpdate({ type, searchParameters, resource: { ...stored, region: "eu-west-1" } }));
done(await client.patch({ type, id, patch: [{ op: "add", path: "/max-expiration", value: 600 }] }));
const found = done(await client.searchType({ type, query: searchParameters }));
const url = `/fhir/aws/storage/${id}/uploads`;
const signed = done(await client.request({ url, method: "POST", body: JSON.stringify({ filename: "some/key" }) }));
done(await client.delete({ type, id }));
const { region, "max-expiration": longest } = found.entry[0].resource;
console.log(seen.join(" "), region, longest, signed.url.split("?")[0]);
