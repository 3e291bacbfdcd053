// Starts Scalar on the service's own document. Nothing goes to another host.
"use strict";

function stored(storage, key) {
  try {
    return storage().getItem(key);
  } catch {
    return null; // Storage is blocked.
  }
}

// The console keeps both: the theme in the browser, and the token of the sign-in in this tab.
const theme = stored(() => localStorage, "s3-signer.theme");
const token = stored(() => sessionStorage, "s3-signer.token");

Scalar.createApiReference("#api", {
  url: "openapi.json",
  pageTitle: "API · s3-signer",
  // The address of an operation, such as docs#tag/sign-urls/signUpload, does not change with its path.
  generateOperationSlug: ({ operationId }) => operationId,
  ...(theme === "dark" || theme === "light" ? { darkMode: theme === "dark" } : {}),
  ...(token ? { authentication: { preferredSecurityScheme: "bearer", securitySchemes: { bearer: { token } } } } : {}),
  // These ask servers of Scalar.
  withDefaultFonts: false,
  telemetry: false,
  hideClientButton: true,
  showDeveloperTools: "never",
  agent: { disabled: true },
  mcp: { disabled: true },
  // These lead to services of Scalar.
  customCss:
    ".selected-client-action, .generate-sdk-button, a[href^='https://scalar.com'] { display: none !important }",
});
