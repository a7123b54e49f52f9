// A backend in TypeScript: the client is generated, the compiler checks every field below, and
// assertions check the answers. Arguments: the address, and "overload" for the test of a full queue.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, operations, paths } from "./api.js";

type Schemas = components["schemas"];
// Names in the OpenAPI document; the compiler fails if one is missing.
type ClassifyErrors = Exclude<keyof operations["classify"]["responses"], 200>;

const [address, scenario] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: address ?? "" });

function checkHead(head: Schemas["HeadOut"], labels: string[]): void {
  assert(labels.includes(head.label));
  assert.equal(head.top[0]?.probability, head.probability);
}

async function answers(): Promise<void> {
  const format: Schemas["TextFormat"] = "html";
  const one = await client.POST("/classify", {
    body: { text: "<p>Koch für die Küche</p>", id: "a1", format, top_k: 2 },
    params: { header: { "X-Request-Timeout-Ms": 60_000 } },
  });
  assert(one.data, JSON.stringify(one.error));
  assert.equal(one.data.id, "a1");
  assert.equal(one.data.job_category.top.length, 2);
  assert(one.data.model.revision);
  assert(one.response.headers.get("Server-Timing"));

  const { data: model } = await client.GET("/model");
  assert(model);
  checkHead(one.data.job_category, model.heads.job_category.labels.map((label) => label.label));
  checkHead(one.data.min_education, model.heads.min_education.labels.map((label) => label.label));

  const ads: Schemas["AdIn"][] = [{ text: "Koch", id: "1" }, { text: "Pflege", title: null }];
  const batch = await client.POST("/classify/batch", { body: { ads } });
  assert.deepEqual(batch.data?.results.map((result) => result.id), ["1", null]);
}

async function posting(): Promise<void> {
  const body: Schemas["JobPosting"] = {
    "@type": "JobPosting",
    title: "Koch",
    identifier: { value: "2047" },
    educationRequirements: "abgeschlossene Ausbildung",
  };
  const { data } = await client.POST("/classify/jobposting", { body });
  const result = data?.results[0];
  assert(result);
  assert.equal(result.id, "2047");
  assert.equal(result.stated.min_education.text, "abgeschlossene Ausbildung");
  assert.equal(result.patch.educationRequirements, undefined);
  const category: Schemas["OccupationalCategory"] | null = result.patch.occupationalCategory ?? null;
  assert(category);
  const codes = typeof category === "string" ? [] : category.map((code) => code.codeValue);
  assert(codes.every((code) => code.length > 0));
  const graph = await client.POST("/classify/jobposting", { body: { "@graph": [body, { a: 1 }] } });
  assert.equal(graph.data?.results.length, 1);
}

async function errors(): Promise<void> {
  const { error, response } = await client.POST("/classify", { body: { text: "Koch", top_k: 0 } });
  const problem: Schemas["Problem"] | undefined = error;
  assert(problem);
  const status: ClassifyErrors = 422;
  assert.equal(problem.status, status);
  assert.equal(response.status, status);
  assert.match(problem.detail, /top_k/);
  assert.equal(problem.request_id, response.headers.get("X-Request-Id"));

  const { data: health } = await client.GET("/health/ready");
  assert.equal(health?.status satisfies "live" | "ready" | undefined, "ready");
}

async function overload(): Promise<void> {
  const { error, response } = await client.POST("/classify/batch", {
    body: { ads: [{ text: "Koch" }, { text: "Koch" }] },
  });
  assert.equal(error?.status, 429);
  const retryAfter: operations["classify_batch"]["responses"][429]["headers"]["Retry-After"] =
    Number(response.headers.get("Retry-After"));
  assert(retryAfter >= 1);
}

if (scenario === "overload") {
  await overload();
} else {
  await answers();
  await posting();
  await errors();
}
