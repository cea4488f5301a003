// SPDX-License-Identifier: Apache-2.0
// In place of the package that @grafana/ui's tables scroll with. It is CommonJS, whose
// default export esbuild wraps once too often; and a picture does not scroll.

import type { ReactNode } from "react";

export default function Scrollbars({ children }: { children?: ReactNode }) {
  return <div style={{ height: "100%", overflow: "hidden" }}>{children}</div>;
}
