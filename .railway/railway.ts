// What Railway runs, in its own words; `railway config plan` shows what it would change, `railway config apply` does it.
// railway.toml says the same for services that still read it. A test compares the two.
import { defineRailway, preserve, project, service, volume } from "railway/iac";

export default defineRailway(() => {
  // Queue, session keys, embedded store. One a service: another region is another service with a volume of its own.
  const data = volume("tandem-data", { allowOnlineResize: true });

  const tandem = service("tandem", {
    build: {
      builder: "DOCKERFILE",
      dockerfilePath: "Dockerfile",
      watchPatterns: ["src/**", "config/**", "pyproject.toml", "requirements.lock", "Dockerfile"],
    },
    deploy: {
      healthcheckPath: "/readyz",
      healthcheckTimeout: 300,
      restartPolicyType: "ALWAYS",
      overlapSeconds: 0, // a volume forbids overlap anyway; two owners of one session must never run
      drainingSeconds: 45,
    },
    replicas: 1,
    volumeMounts: { "/data": data },
    env: {
      TANDEM_DATA_DIR: "/data",
      TANDEM_API_TOKEN: preserve(), // set it once: openssl rand -hex 32
    },
  });

  return project("tandem", { resources: [data, tandem] });
});
