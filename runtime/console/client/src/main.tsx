import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import { feed } from "./feed";
import "./style.css";

feed.open();
createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
